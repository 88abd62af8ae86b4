// Three coding agents as people run them, from the command line: a prompt, and then, in the same session, a round of tools.
//
// The server is real, and so are the agents; only what the model says is settled: a door between them adds a grammar to each
// request. The model is the built-in one with the first of its layers alone, so that prompts of 20,000 tokens are soon read.
// Nothing but this machine is spoken to: whatever the agents want of other hosts ends at a door that counts and refuses.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { assert, main, test } from './lib.mjs';

const home = fs.mkdtempSync(path.join(os.tmpdir(), 'plimsoll-agents-'));
process.on('exit', () => fs.rmSync(home, { recursive: true, force: true, maxRetries: 3 }));

function shallowModel() {
  const bytes = fs.readFileSync(path.join(import.meta.dirname, '../../models/plimsoll-tiny.gguf')), key = '.block_count';
  bytes.writeUInt32LE(1, bytes.indexOf(key) + key.length + 4); // behind the value's type
  const file = path.join(home, 'shallow.gguf');
  fs.writeFileSync(file, bytes);
  return file;
}

const listen = server => new Promise(done => server.listen(0, '127.0.0.1', () => done(`http://127.0.0.1:${server.address().port}`)));
const bodyOf = async stream => { const parts = []; for await (const p of stream) parts.push(p); return Buffer.concat(parts); };

// ---- the doors ----

const foreign = new Set();
const trap = http.createServer((q, r) => { foreign.add(q.url); r.writeHead(403).end(); });
trap.on('connect', (q, socket) => { foreign.add(q.url); socket.on('error', () => {}).end('HTTP/1.1 403 Forbidden\r\n\r\n'); });

const anything = 'root ::= [a-z ]{1,40}';
const literal = text => `root ::= ${JSON.stringify(text)}`;
const calls = (name, input) => literal(`<tool_call>\n${JSON.stringify({ name, arguments: input })}\n</tool_call>`);

// Usage as each dialect counts it: of the prompt, how much, and how much of that was cached.
function usageOf(text) {
  const found = {};
  for (const line of text.split('\n')) {
    if (!line.startsWith('data: {')) continue;
    const data = JSON.parse(line.slice(6)), u = data.message?.usage ?? data.response?.usage ?? data.usage;
    if (!u) continue;
    found.cached ??= u.cache_read_input_tokens ?? u.input_tokens_details?.cached_tokens ?? u.prompt_tokens_details?.cached_tokens;
    found.prompt ??= u.prompt_tokens ?? u.input_tokens + (u.cache_read_input_tokens ?? 0);
  }
  return found;
}

// Requests with tools are the session's own: each takes the next of `says`. Others (titles) are answered with anything.
class Door {
  says = [];
  turns = [];
  async open(target) {
    this.server = http.createServer(async (q, r) => {
      let body = await bodyOf(q), turn;
      if (q.method === 'POST') {
        const ask = JSON.parse(body);
        if (ask.tools?.length) this.turns.push(turn = { ask });
        body = Buffer.from(JSON.stringify({ ...ask, grammar: turn && this.says.shift() || anything }));
      }
      const headers = { ...q.headers, host: new URL(target).host, 'content-length': body.length };
      const up = http.request(target + q.url, { method: q.method, headers }, async answer => {
        r.writeHead(answer.statusCode, answer.headers);
        answer.pipe(r);
        const text = (await bodyOf(answer)).toString();
        if (turn) Object.assign(turn, { status: answer.statusCode, text, headers: answer.headers, usage: usageOf(text) });
      });
      up.on('error', () => r.destroy());
      up.end(body);
    });
    this.base = await listen(this.server);
    return this;
  }
}

// ---- the agents ----

// opencode's program comes without the package that chooses one for the machine: registries do not have all of its choices.
const modules = path.join(import.meta.dirname, 'node_modules');
const bin = name => path.join(modules, name === 'opencode' ? 'opencode-linux-x64-baseline/bin/opencode' : '.bin/' + name);

function run(command, args, env, cwd) {
  return new Promise(done => {
    const child = spawn(command, args, { cwd, env: { PATH: process.env.PATH, LANG: 'C.UTF-8', ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let out = '', log = '';
    child.stdout.on('data', d => { out += d; });
    child.stderr.on('data', d => { log += d; });
    const kill = () => { try { process.kill(-child.pid, 'SIGKILL'); } catch { /* it has ended */ } };
    process.on('exit', kill);
    child.on('error', e => { log += e; });
    child.on('close', code => { kill(); done({ code, out, log }); });
  });
}

// Each: how it is told where the server is, its two turns, its shell's name and input, what it says in the end.
const agents = {
  codex: {
    shell: ['exec_command', cmd => ({ cmd })],
    set(dir, base, model) {
      fs.mkdirSync(path.join(dir, '.codex'), { recursive: true });
      fs.writeFileSync(path.join(dir, '.codex/config.toml'), `model = "${model}"
model_provider = "here"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.here]
name = "here"
base_url = "${base}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
`);
      return {};
    },
    first: prompt => ['exec', '--skip-git-repo-check', '--json', prompt],
    second: prompt => ['exec', 'resume', '--last', '--skip-git-repo-check', '--json', prompt],
    said: out => out.split('\n').filter(l => l.startsWith('{')).map(l => JSON.parse(l)).filter(e => e.item?.type === 'agent_message').map(e => e.item.text),
  },
  claude: {
    shell: ['Bash', command => ({ command, description: 'Counts' })],
    set: (dir, base, model) => ({
      ANTHROPIC_BASE_URL: base, ANTHROPIC_AUTH_TOKEN: 'sk-none', ANTHROPIC_MODEL: model, ANTHROPIC_SMALL_FAST_MODEL: model,
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1', DISABLE_TELEMETRY: '1', DISABLE_AUTOUPDATER: '1', DISABLE_ERROR_REPORTING: '1',
    }),
    first: prompt => ['-p', '--output-format', 'json', '--allowedTools', 'Bash', '--', prompt],
    second: prompt => ['-p', '--continue', '--output-format', 'json', '--allowedTools', 'Bash', '--', prompt],
    said: out => [JSON.parse(out.trim().split('\n').at(-1)).result],
  },
  opencode: {
    shell: ['bash', command => ({ command, description: 'Counts' })],
    set(dir, base, model) {
      const limit = { context: 65536, output: 1000 };
      fs.mkdirSync(path.join(dir, '.config/opencode'), { recursive: true });
      fs.writeFileSync(path.join(dir, '.config/opencode/opencode.json'), JSON.stringify({
        autoupdate: false, share: 'disabled', model: `here/${model}`, small_model: `here/${model}`, permission: { bash: 'allow' },
        provider: { here: { npm: '@ai-sdk/openai-compatible', name: 'here', options: { baseURL: base + '/v1', apiKey: 'sk-none' }, models: { [model]: { name: model, limit } } } },
      }));
      return { OPENCODE_DISABLE_AUTOUPDATE: '1', OPENCODE_DISABLE_MODELS_FETCH: '1', OPENCODE_DISABLE_LSP_DOWNLOAD: '1' };
    },
    first: prompt => ['run', '--format', 'json', prompt],
    second: prompt => ['run', '--continue', '--format', 'json', prompt],
    said: out => out.split('\n').filter(l => l.startsWith('{')).map(l => JSON.parse(l)).filter(e => e.type === 'text').map(e => e.part.text),
  },
};

const share = (turn, of) => turn.usage.cached / of.usage.prompt;

for (const [name, agent] of Object.entries(agents)) test(`${name}: a prompt, a round of tools`, async s => {
  const door = await new Door().open(s.base), dir = path.join(home, name), work = path.join(dir, 'work');
  fs.mkdirSync(work, { recursive: true });
  const outside = await trapped;
  const env = { HOME: dir, HTTP_PROXY: outside, HTTPS_PROXY: outside, http_proxy: outside, https_proxy: outside, NO_PROXY: '127.0.0.1', no_proxy: '127.0.0.1', ...agent.set(dir, door.base, s.model) };
  const [shell, input] = agent.shell;
  const turn = async (args, says) => {
    const before = door.turns.length;
    door.says = [...says];
    const r = await run(bin(name), args, env, work), turns = door.turns.slice(before);
    const told = () => `${name} ended with ${r.code}\n${r.out.slice(-1500)}\n${r.log.slice(-1500)}\n${turns.map(t => `${t.status} ${t.text?.slice(0, 300)}`).join('\n')}`;
    assert.equal(r.code, 0, told());
    assert.equal(turns.length, says.length, told());
    turns.forEach(t => assert.equal(t.status, 200, told()));
    assert.equal(agent.said(r.out).at(-1), 'Very well.', told());
    return turns;
  };
  const [one] = await turn(agent.first('Say that all is well'), [literal('Very well.')]);
  const [two, three] = await turn(agent.second('Count the ships'), [calls(shell, input('echo $((6 * 7)) ships')), literal('Very well.')]);
  assert(JSON.stringify(three.ask).includes('42 ships'), 'the command was run, and the model is told');
  const shares = [share(two, one), share(three, two)];
  console.log(`     · ${one.usage.prompt}, ${two.usage.prompt}, ${three.usage.prompt} tokens; of the turn before ${shares.map(x => (100 * x).toFixed(1) + ' %').join(', ')} are cached; left out: ${one.headers['x-plimsoll-ignored'] ?? 'nothing'}`);
  shares.forEach(x => assert(x >= 0.95, JSON.stringify(door.turns.map(t => t.usage))));
  door.server.close();
}, 240000);

test('no agent is answered by another host', async () => {
  console.log(`     · asked for: ${[...foreign].join(', ') || 'none'}`);
  trap.close();
});

const trapped = listen(trap);
await main('-m', shallowModel(), '-c', '65536', '--parallel', '2');
