// What the client tests stand on: servers of their own, the clients, and a runner of one line a test.
//
// A file declares tests with test(name, async s => …) and ends with `await main(...flags of the server)`. The program is
// $PLIMSOLL or build/plimsoll; $BASE (and $MODEL) run the tests against a server that is there already.
import { spawn, execFileSync } from 'node:child_process';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import OpenAI from 'openai';
import Anthropic from '@anthropic-ai/sdk';
import { Ollama } from 'ollama';

export { assert };
const root = path.resolve(import.meta.dirname, '../..');
const program = process.env.PLIMSOLL || path.join(root, 'build/plimsoll');
const key = 'sk-none';

// Limits are for what hangs. They are wide: other work may have the cores.
const PATIENCE = 5;

export const sleep = ms => new Promise(done => setTimeout(done, ms));

export async function until(condition, what, limitMs = 10000) {
  for (const start = Date.now(); !await condition(); await sleep(10)) {
    if (Date.now() - start > limitMs * PATIENCE) assert.fail(`waited ${limitMs * PATIENCE} ms for: ${what}`);
  }
}

// A synthetic model of build/forge, made once a run.
export function forge(...options) {
  const file = path.join(os.tmpdir(), `plimsoll-clients-${process.pid}${options.join('_').replaceAll('/', '_')}.gguf`);
  if (!fs.existsSync(file)) {
    execFileSync(process.env.FORGE || path.join(root, 'build/forge'), [...options, '-o', file], { stdio: 'ignore' });
    process.on('exit', () => fs.rmSync(file, { force: true }));
  }
  return file;
}

const children = new Set();
process.on('exit', () => children.forEach(c => c.kill('SIGKILL')));

// One server and its clients.
export class Server {
  static async start(...flags) {
    const s = new Server();
    if (process.env.BASE) {
      s.base = process.env.BASE;
    } else {
      s.log = '';
      const env = Object.fromEntries(Object.entries(process.env).filter(([k]) => !k.startsWith('PLIMSOLL')));
      s.child = spawn(program, ['serve', '--port', '0', ...flags], { stdio: ['ignore', 'ignore', 'pipe'], env });
      s.child.stderr.on('data', d => { s.log += d; });
      s.ended = new Promise(done => s.child.once('exit', (code, signal) => done(code ?? signal)));
      s.ended.then(how => { s.how = how; });
      children.add(s.child);
      await until(() => s.how !== undefined || / ready: /.test(s.log), 'the server to be ready', 60000);
      s.base = /ready: .* on (http:\/\/[^ ,]*)/.exec(s.log)?.[1];
      assert(s.base, 'no server: ' + s.log);
    }
    s.model = process.env.MODEL || (await s.get('/v1/models')).json.data[0].id;
    s.openai = s.openaiWith({});
    s.anthropic = new Anthropic({ baseURL: s.base, apiKey: key, maxRetries: 0 });
    s.ollama = new Ollama({ host: s.base });
    return s;
  }

  openaiWith(options) { return new OpenAI({ baseURL: this.base + '/v1', apiKey: key, maxRetries: 0, ...options }); }
  anthropicWith(options) { return new Anthropic({ baseURL: this.base, apiKey: key, maxRetries: 0, ...options }); }

  async request(method, where, body, headers = {}) {
    const r = await fetch(this.base + where, {
      method, headers: { 'content-type': 'application/json', authorization: 'Bearer ' + key, ...headers },
      body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
      signal: AbortSignal.timeout(60000 * PATIENCE),
    });
    const text = await r.text();
    let json;
    try { json = JSON.parse(text); } catch { /* no JSON */ }
    return { status: r.status, headers: r.headers, text, json };
  }
  get(where, headers) { return this.request('GET', where, undefined, headers); }
  post(where, body, headers) { return this.request('POST', where, body, headers); }

  async activeJobs() {
    const h = (await this.get('/health')).json;
    return h.active_jobs + h.queued_jobs;
  }
  untilQuiet(limitMs = 1000) { return until(async () => await this.activeJobs() === 0, 'no job is in work', limitMs); }

  async stop() {
    if (!this.child) return;
    this.child.kill('SIGTERM');
    assert.equal(await Promise.race([this.ended, sleep(20000 * PATIENCE)]), 0, 'how the server ended; its log: ' + this.log.slice(-2000));
    assert.doesNotMatch(this.log, /bytes are still in account|Sanitizer|runtime error|CHECK failed/);
  }
}

// ---- what streams say ----

export const sseEvents = text => text.split('\n\n').filter(Boolean).map(block => {
  const lines = block.split('\n').filter(l => !l.startsWith(':'));
  const field = name => lines.filter(l => l.startsWith(name + ': ')).map(l => l.slice(name.length + 2)).join('\n');
  return { event: field('event'), data: field('data') };
}).filter(e => e.event || e.data);

export const ndjson = text => text.split('\n').filter(Boolean).map(l => JSON.parse(l));

// ---- the runner ----

const tests = [];
export const test = (name, run, limitMs = 60000) => tests.push({ name, run, limitMs });

export async function main(...flags) {
  const only = process.argv[2];
  let passed = 0, failed = 0;
  const server = await Server.start(...flags);
  const limited = t => Promise.race([t.run(server), sleep(t.limitMs * PATIENCE).then(() => assert.fail(`not done after ${t.limitMs * PATIENCE} ms`))]);
  for (const t of [...tests, { name: 'the server stops as it should', run: s => s.stop(), limitMs: 30000, last: true }]) {
    if (only && !t.name.includes(only) && !t.last) continue;
    const start = Date.now();
    try {
      await limited(t);
      passed++;
      console.log(`ok   ${t.name} (${Date.now() - start} ms)`);
    } catch (e) {
      failed++;
      console.log(`FAIL ${t.name} :: ${String(e?.stack || e).split('\n').slice(0, e?.code === 'ERR_ASSERTION' ? 12 : 4).join('\n     ')}`);
    }
  }
  if (failed && server.log) console.log('     the end of the server\'s log:\n     | ' + server.log.trimEnd().split('\n').slice(-15).join('\n     | '));
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
