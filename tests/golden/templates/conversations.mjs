// Conversations that every chat template is asked to render. Each is the context a client's request would become.
const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather at a place, \"now\"",
    parameters: {
      type: "object",
      properties: {
        place: { type: "string", description: "City & country, e.g. København <DK>" },
        unit: { type: "string", enum: ["celsius", "fahrenheit"], default: "celsius" },
        days: { type: "integer", minimum: 1, maximum: 10, default: 1 },
        hourly: { type: "boolean", nullable: true },
        fields: { type: "array", items: { type: "string" } },
        where: {
          type: "object",
          properties: { lat: { type: "number" }, lon: { type: "number", description: "East is positive" } },
          required: ["lat"],
        },
        either: { oneOf: [{ type: "string", description: "a" }, { type: "number", default: 1.5 }] },
        several: { type: ["string", "null"] },
      },
      required: ["place", "days"],
    },
  },
};
const clock = { type: "function", function: { name: "now", description: "Current time", parameters: { type: "object", properties: {} } } };
const bare = { type: "function", function: { name: "ping", description: "", parameters: {} } };
const simple = {
  type: "function",
  function: {
    name: "add",
    description: "Adds two numbers.",
    parameters: {
      type: "object",
      properties: { a: { type: "number", description: "one" }, b: { type: "integer", description: "other", enum: [1, 2] } },
      required: ["a", "b"],
    },
    return: { type: "number", description: "the sum" },
  },
};
const typed = {
  type: "function",
  function: {
    name: "typed",
    description: "Lists and mappings.",
    parameters: { type: "object", properties: { c: { type: "array", items: { type: "string" } }, d: { type: "object", additionalProperties: { type: "boolean" } } } },
  },
};
const user = (content) => ({ role: "user", content });
const assistant = (content, more) => ({ role: "assistant", content, ...more });
const system = (content) => ({ role: "system", content });
const call = (id, name, args) => ({ id, type: "function", function: { name, arguments: args } });
const result = (id, content, name) => ({ role: "tool", tool_call_id: id, content, ...(name && { name }) });
const markers = { bos_token: "<|bos|>", eos_token: "<|eos|>", add_generation_prompt: true };
const talk = (messages, more) => ({ messages, ...markers, ...more });

export const conversations = {
  plain: talk([user("Hello, who are you?")]),
  system: talk([system("You are terse."), user("Hello")]),
  turns: talk([system("Be kind."), user("One"), assistant("1"), user("Two"), assistant("2"), user("Three")]),
  no_prompt: talk([user("Hi"), assistant("Hello!")], { add_generation_prompt: false }),
  continued: talk([user("Count"), assistant("One, two,")]),
  empty: talk([]),
  empty_content: talk([system(""), user(""), assistant(""), user("")]),
  null_content: talk([user("a"), assistant(null), user("b")]),
  unicode: talk([system("Ünïcode – “quotes” 日本語\u2028."), user("🧭 naïve café\n\ttab \"double\" 'single' \\ back </s> <|im_end|> {{ x }} {% y %}"), assistant("👩‍👩‍👧 ok"), user("ß İ ǆ \u0000 \u007f \ud83d\ude00")]),
  white_space: talk([system("  padded \n"), user("\n\n lines \n\n"), assistant("\n\nreply  \n"), user(" ")]),
  tools: talk([user("Weather in Århus?")], { tools: [weather, clock] }),
  tools_system: talk([system("Use tools."), user("Now?")], { tools: [clock, bare] }),
  tool_call: talk([user("Weather?"), assistant("", { tool_calls: [call("call00001", "get_weather", { place: "Århus", days: 2, fields: ["t", "\"q\""], where: { lat: 56.16, lon: 10 }, hourly: false, note: null })] }), result("call00001", "{\"t\": 7.5}", "get_weather"), assistant("7.5 degrees"), user("Thanks")], { tools: [weather] }),
  tool_call_pending: talk([user("Weather?"), assistant("Let me look.", { tool_calls: [call("abcdefghi", "get_weather", { place: "Rome" })] }), result("abcdefghi", "sunny")], { tools: [weather] }),
  tool_call_text: talk([user("Weather?"), assistant(null, { tool_calls: [call("abcdefghi", "get_weather", "{\"place\": \"Rome\", \"days\": 1}")] }), result("abcdefghi", "sunny")], { tools: [weather] }),
  tool_calls: talk([user("Both"), assistant("", { tool_calls: [call("aaaaaaaaa", "get_weather", { place: "Rome" }), call("bbbbbbbbb", "now", {})] }), result("aaaaaaaaa", "sunny", "get_weather"), result("bbbbbbbbb", "12:00", "now"), assistant("Sunny at noon"), user("And?")], { tools: [weather, clock] }),
  tool_result_object: talk([user("x"), assistant("", { tool_calls: [call("aaaaaaaaa", "now", {})] }), result("aaaaaaaaa", { hour: 12, list: [1, 2.5, true, null] })], { tools: [clock] }),
  thinking_off: talk([user("2+2?"), assistant("<think>\neasy\n</think>\n\n4"), user("3+3?")], { enable_thinking: false, thinking: false }),
  thinking_on: talk([user("2+2?"), assistant("4", { reasoning_content: "easy\n", thinking: "easy" }), user("3+3?")], { enable_thinking: true, thinking: true, reasoning_effort: "high" }),
  thinking_tools: talk([user("Look"), assistant("", { reasoning_content: "I should look.", tool_calls: [call("aaaaaaaaa", "now", { zone: "UTC" })] }), result("aaaaaaaaa", "12:00"), assistant("Noon", { reasoning_content: "fine" })], { tools: [clock], add_generation_prompt: false }),
  unknown_members: talk([{ ...user("Hi"), name: "ann", extra: { a: [1] } }, assistant("Hey", { refusal: null, audio: null }), user("?")], { foo: [1, 2], documents: [{ title: "T", text: "Some text" }], controls: { length: "long" }, date_string: "01 Jan 2025", model_identity: "You are Plim.", builtin_tools: ["browser", "python"] }),
  parts: talk([{ role: "user", content: [{ type: "text", text: "What is " }, { type: "image" }, { type: "text", text: "this?" }] }, assistant([{ type: "text", text: "A cat" }]), user("ok")]),
  system_late: talk([user("a"), system("late"), assistant("b"), user("c")]),
  two_users: talk([user("a"), user("b")]),
  developer: talk([{ role: "developer", content: "Obey." }, user("a")]),
  turns_only: talk([user(" One – 日本 🌊"), assistant("1\n"), user("Two"), assistant("2 "), user("Three")]),
  simple_tools: talk([system("Add."), user("1+2?")], { tools: [simple] }),
  simple_call: talk([user("1+2?"), assistant("", { tool_calls: [call("aaaaaaaaa", "add", { a: 1.0, b: 2, c: "é" })] }), result("aaaaaaaaa", "3", "add"), assistant("3"), user("3+4?")], { tools: [simple] }),
  simple_pending: talk([user("1+2?"), assistant(null, { tool_calls: [call("aaaaaaaaa", "add", { a: 1, b: 2 })] }), result("aaaaaaaaa", "3", "add")], { tools: [simple, typed] }),
  no_messages: { ...markers },
  long: talk([system("s"), ...Array.from({ length: 60 }, (_, i) => (i % 2 ? assistant(`answer ${i} ` + "x".repeat(i * 7)) : user(`question ${i} ` + "é".repeat(i * 5)))), user("end")]),
};
