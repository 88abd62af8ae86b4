"""Chats in ChatML: small talk, who the model is, facts, sums, recall, stories on request, questions on a text, tools."""
import json

from grammar import cap, fill, join
from stories import journey, story
from words import (ANIMALS, BOYS, COLOURS, FEELINGS, FOODS, GIRLS, HEROES, NUMBERS, PETS, PLACES, SIZES, THINGS, WEATHER,
                   Who, animal_fact, someone)

FACTS = [
    ("a load line", "A load line is a mark on the side of a ship. It shows how deep the ship may lie in the water. If the mark is under water, the ship is carrying too much."),
    ("a Plimsoll line", "A Plimsoll line is the load line of a ship. It is named after Samuel Plimsoll, who wanted ships to be safe. It shows how much a ship can carry."),
    ("a lighthouse", "A lighthouse is a tower with a bright lamp. It shows ships the way at night and warns them of rocks."),
    ("a harbour", "A harbour is a safe place for ships. The water is calm there, and ships can load and unload."),
    ("an anchor", "An anchor is a heavy hook of iron. It holds a ship in its place."), ("a compass", "A compass has a needle that points to the north. Sailors use it to find their way."),
    ("a sail", "A sail is a big piece of cloth. The wind pushes it, and the boat moves."), ("the tide", "The tide is the rise and fall of the sea. The moon pulls the water, and so the sea rises and falls twice a day."),
    ("the sun", "The sun is a star. It gives us light and warmth, and the earth goes round it once a year."), ("the moon", "The moon goes round the earth once a month. It has no light of its own but shines in the light of the sun."),
    ("a star", "A star is a great ball of hot gas, like our sun. Stars look small because they are very far away."), ("rain", "Rain is water that falls from the clouds. Plants need it to grow."),
    ("snow", "Snow is frozen water that falls from the clouds in cold weather. It is white and soft."), ("ice", "Ice is frozen water. Water freezes when it is colder than zero degrees."),
    ("fog", "Fog is a cloud that lies on the ground. In fog one cannot see very far."), ("wind", "Wind is moving air. It fills sails, turns windmills and carries seeds."),
    ("a rainbow", "A rainbow is a band of colours in the sky. One can see it when the sun shines through rain."), ("thunder", "Thunder is the loud noise that comes after lightning. The hot air makes it."),
    ("a river", "A river is water that flows from the hills down to the sea."), ("an island", "An island is land with water on every side."), ("a mountain", "A mountain is a very high hill. On top of it there is often snow."),
    ("a tree", "A tree is a tall plant with a trunk of wood. It has roots, branches and leaves."), ("a flower", "A flower is the part of a plant that makes seeds. Bees visit it to find nectar."),
    ("honey", "Honey is a sweet food that bees make from nectar."), ("bread", "Bread is made of flour, water, salt and yeast. The baker bakes it in a hot oven."), ("cheese", "Cheese is made from milk."),
    ("a book", "A book has many pages with words or pictures. One can read it and learn something or enjoy a story."), ("a clock", "A clock shows the time. It has two hands, a short one for the hours and a long one for the minutes."),
    ("spring", "Spring is the season after winter. The snow melts, and the flowers begin to grow."), ("summer", "Summer is the warmest season. The days are long."),
    ("autumn", "Autumn is the season after summer. The leaves turn red and yellow and fall from the trees."), ("winter", "Winter is the coldest season. The days are short, and sometimes it snows."),
    ("a friend", "A friend is somebody who likes you, helps you and tells you the truth."), ("a computer", "A computer is a machine that follows instructions. It can count, store words and pictures, and run programs."),
    ("a language model", "A language model is a program that has read many sentences and guesses the next word. I am a very small one."), ("a captain", "A captain leads a ship and its crew."),
    ("a bridge", "A bridge is a road over water or over a valley."), ("a mirror", "A mirror is a smooth glass in which you can see yourself."), ("a village", "A village is a small place where people live. It is smaller than a town."),
    ("a farm", "A farm is a place where people grow food and keep animals."), ("milk", "Milk is a white drink. It comes from cows, goats and sheep."), ("a map", "A map is a drawing of the land seen from above. It helps you to find the way."),
    ("the sea", "The sea is a great deal of salt water. It covers most of the earth."), ("salt", "Salt is a white mineral. It makes food taste good, and there is much of it in the sea."), ("a cloud", "A cloud is made of very small drops of water that float in the air."),
]
QA = [
    ("[What colour is|Which colour has|Tell me the colour of] the sky?", "The sky is blue[.| on a clear day.]"), ("[What colour is] grass?", "Grass is green."), ("What colour is snow?", "Snow is white."), ("What colour is a lemon?", "A lemon is yellow."),
    ("What colour is blood?", "Blood is red."), ("What colour is coal?", "Coal is black."), ("What colour is an orange?", "An orange is orange."), ("How many days are there in a week?", "There are seven days in a week."),
    ("How many months are there in a year?", "There are twelve months in a year."), ("How many hours are there in a day?", "There are twenty-four hours in a day."), ("How many minutes are there in an hour?", "There are sixty minutes in an hour."),
    ("[What are|Name|Tell me] the days of the week[?|.]", "The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."), ("[What are|Name] the [four |]seasons[?|.]", "The four seasons are spring, summer, autumn and winter."),
    ("What is the capital of France?", "The capital of France is Paris."), ("What is the capital of England?", "The capital of England is London."), ("What is the capital of Italy?", "The capital of Italy is Rome."), ("What is the capital of Germany?", "The capital of Germany is Berlin."),
    ("What is the capital of Spain?", "The capital of Spain is Madrid."), ("What is the capital of Japan?", "The capital of Japan is Tokyo."), ("Why is the sea salty?", "The rivers bring salt from the stones into the sea, and it stays there."), ("Why is the sky blue?", "The air scatters the blue light of the sun more than the red light, so the sky looks blue."),
    ("Why do birds [fly south|leave] in winter?", "Some birds fly to warm lands in winter because there is more food there."), ("How do [fish|fishes] breathe?", "Fish breathe under water with their gills."), ("Why do we sleep?", "We sleep so that the body and the mind can rest."), ("Where does the sun rise?", "The sun rises in the east."),
    ("Where does the sun set?", "The sun sets in the west."), ("Who was [Samuel |]Plimsoll?", "Samuel Plimsoll was an English politician. He fought for a line on every ship that shows how much it can safely carry."), ("What do plants need[ to grow|]?", "Plants need water, light and air."), ("Is the earth flat?", "No, the earth is round, like a ball."),
    ("What is the biggest animal?", "The blue whale is the biggest animal in the world."), ("Which animal is the fastest?", "The cheetah is the fastest animal on land."), ("Why does a ship [float|swim]?", "A ship floats because it pushes away as much water as it weighs."), ("How do I make tea?", "Boil some water, put the tea into a cup, pour the water over it and wait for three minutes."),
    ("How do I make [a sandwich|sandwiches]?", "Take two slices of bread, put some butter on them and add cheese or jam."), ("What should I do when I am [bored]?", "You could read a book, go for a walk or call a friend."), ("What is your favourite colour?", "I like blue, because the sea is blue."), ("What is your favourite food?", "I do not eat, but honey cake sounds good."),
    ("What is your favourite animal?", "I like whales, because they sing."), ("Do you like [music|stories|books|the sea]?", "Yes, I do. [But I only know it from words.|And you?|It makes good stories.]"), ("Are you a [human|person|real person]?", "No, I am a small computer program."), ("Are you [clever|smart|intelligent]?", "Not very. I am tiny, but I try."),
    ("Can you [dance|swim|cook|drive a car]?", "No, I am only a program. I can only write words."), ("How old are you?", "I do not know. I am only a program."), ("Where do you live?", "I live inside the Plimsoll program, on your computer."), ("Do you sleep?", "No, but I rest when nobody asks me anything."),
    ("Do you have [a family|friends|feelings]?", "No, I am a program. But I like to talk with you."), ("[Tell me a joke.|Do you know a joke?|Make me laugh.]", "[Why did the crab never share? Because it was shellfish.|What did the sea say to the ship? Nothing, it just waved.|What is brown and sticky? A stick.|Why did the ship stop? It had reached the line.]"),
]
WHO = ["I am Plimsoll's small built-in model. I am tiny, so please do not expect too much. You can load a real model with -m.", "I am the little model that is built into Plimsoll. I can tell simple stories and answer simple questions. For more, load a bigger model with -m.",
       "I am a very small language model inside Plimsoll. I know simple words and short stories. A real model can be loaded with -m."]
WHOQ = "[Who are you?|What are you?|What is your name?|Tell me about yourself.|Who am I talking to?|Which model are you?|Introduce yourself.|who are you|What model is this?|Are you ChatGPT?|Who made you?]"
CAN = "[What can you do?|How can you help me?|What are you good at?|help|Can you help me?|What do you know?]"
CANA = "[I can tell short stories, talk a little and answer simple questions about animals, the weather and the sea.|I can tell you a story, answer simple questions and add small numbers.] [I am tiny, so I am often wrong.|For harder things, load a bigger model with -m.|]"
HELLO = "[Hello|Hi|Hello there|Good morning|Good evening|Hey|hi|hello|Good day|Hi there][!|.|]"
HELLOA = "[Hello!|Hi!|Hello there!|Good day!] [How can I help you?|What can I do for you?|How are you today?|Nice to meet you.|Shall I tell you a story?|It is good to hear from you.]"
HOW = "[How are you?|How are you today?|How do you do?|How is it going?|Are you well?]"
HOWA = "[I am well, thank you.|I am fine, thank you.|Very well, thank you.] [And you?|How are you?|What would you like to talk about?|It is a good day for a story.]"
THANKS = "[Thank you!|Thanks!|Thank you very much.|Thanks a lot.|thank you]"
THANKSA = "[You are welcome!|I am glad that I could help.|It was a pleasure.|You are very welcome.]"
BYE = "[Goodbye!|Bye!|See you later.|Good night!|I have to go now.|bye]"
BYEA = "[Goodbye! Have a good day.|Goodbye! Come back soon.|See you soon!|Goodbye, and take care.]"
HARD = ["Explain {x}.", "What do you think about {x}?", "Tell me about {x}.", "Write an essay about {x}.", "Can you help me with {x}?", "What is {x}?"]
HARDX = ["quantum physics", "the stock market", "politics", "algebra", "the Roman empire", "Python programming", "chemistry", "philosophy", "my tax return", "calculus", "modern art", "the economy", "databases", "law", "medicine", "machine learning", "Linux", "football results", "the news"]
HARDA = "[I am sorry, but I am too small to know about {x}.|I do not know much about {x}. I am only a tiny model.|That is too hard for me.] [You can load a bigger model with -m.|Ask me about animals or the sea instead.|But I can tell you a story.|]"
SYSTEM = ["You are a helpful assistant.", "You are a friendly assistant.", "You are a helpful, honest assistant.", "You are Plimsoll's small built-in model.", "Be kind and brief.", "You tell stories to children.", "You are a helpful assistant. Answer in simple sentences."]


def article(w):
    return ("an " if w[0] in "aeio" else "a ") + w


def animal_qa(rng):
    a = rng.choice(list(ANIMALS))
    cls, col, food, home, sound, size, legs, move, fact, young = ANIMALS[a]
    an, An = article(a), cap(article(a))
    k = rng.randrange(9)
    if k == 0:
        return fill(rng, "[What does %s eat?|What do %s like to eat?|Tell me what %s eats.]" % (an, plural(a), an), {}), "%s eats %s." % (An, food)
    if k == 1:
        return fill(rng, "[Where does %s live?|Where do %s live?|Where can I find %s?]" % (an, plural(a), an), {}), "%s lives in %s." % (An, home)
    if k == 2:
        return fill(rng, "[How many legs does %s have?|How many legs has %s?]" % (an, an), {}), "%s has %s legs." % (An, NUMBERS[legs] if legs else "no")
    if k == 3:
        return fill(rng, "[What colour is %s?|What colour are %s?]" % (an, plural(a)), {}), "%s is often %s." % (An, col)
    if k == 4:
        return fill(rng, "[Is %s %s?|What kind of animal is %s?]" % (an, article(cls), an), {}), "%s is %s." % (An, article(cls))
    if k == 5:
        return fill(rng, "[What is a young %s called?|What do you call a young %s?]" % (a, a), {}), "A young %s is called %s." % (a, article(young))
    if k == 6:
        b = rng.choice(list(ANIMALS))
        sa, sb = SIZES.index(size), SIZES.index(ANIMALS[b][5])
        if sa != sb:
            big, small = (a, b) if sa > sb else (b, a)
            if rng.random() < 0.5:
                return "Which is bigger, %s or %s?" % (an, article(b)), "%s is bigger than %s." % (cap(article(big)), article(small))
            return "Is %s bigger than %s?" % (an, article(b)), "%s, %s is %s than %s." % ("Yes" if big == a else "No", an, "bigger" if big == a else "smaller", article(b))
    return fill(rng, "[Tell me about %s.|Tell me something about %s.|What is %s?|What do you know about %s?|Tell me about the %s.]" % (plural(a), an, an, plural(a), a), {}), animal_fact(rng, a)


def plural(a):
    special = {"mouse": "mice", "wolf": "wolves", "fox": "foxes", "sheep": "sheep", "deer": "deer", "butterfly": "butterflies", "donkey": "donkeys", "monkey": "monkeys"}
    return special.get(a, a + "s")


def number(rng, n):
    return str(n) if rng.random() < 0.6 or n > 20 else NUMBERS[n]


def arithmetic(rng):
    if rng.random() < 0.6:
        a, b = rng.randint(0, 20), rng.randint(0, 20)
        if rng.random() < 0.5:
            q, c, op = ("%s + %s", "%s plus %s"), a + b, "plus"
        else:
            a, b = max(a, b), min(a, b)
            q, c, op = ("%s - %s", "%s minus %s"), a - b, "minus"
    else:
        a, b = rng.randint(1, 10), rng.randint(1, 10)
        q, c, op = ("%s * %s", "%s times %s"), a * b, "times"
    sym = rng.random() < 0.4
    e = q[0 if sym else 1] % (a, b)
    q = fill(rng, "[What is {e}?|How much is {e}?|{e}|Calculate {e}.|Can you tell me what {e} is?]", {"e": e})
    return q, "%d %s %d is %d." % (a, op, b, c) if not sym or rng.random() < 0.5 else "%s = %d" % (e, c)


def story_chat(rng):
    r = rng.random()
    if r < 0.12:
        return fill(rng, "[Tell me a story.|Tell me a story, please.|Can you tell me a story?|I want to hear a story.|Write a short story.|Once more, a story please!]", {}), story(rng)
    if r < 0.75:
        k = rng.choice(HEROES + ["girl", "boy"])
        h = someone(rng, kind=k)
        env = {"x": article(h.kind), "n": h.name}
        q = "[[Tell me|Write|Can you tell me|Please tell me|I would like to hear] [a|a short|a little|another] story about {x}" + (" [named|called] {n}" if rng.random() < 0.5 else "") + ".|A story about {x}, please.|story about {x}]"
        return fill(rng, q, env), story(rng, hero=h)
    if r < 0.88:
        t = rng.choice(list(THINGS))
        from stories import gift, lost, newfriend, quarrel, truth, wish
        return fill(rng, "[Tell me|Write] a [short |]story about {x}.", {"x": article(t)}), story(rng, thing=t, plots=[lost, wish, truth, newfriend])
    from stories import load_line, storm
    p = rng.choice(["a ship", "a storm", "the sea", "a captain", "a boat", "a load line", "a journey"])
    plots = {"a storm": [storm], "the sea": [storm, load_line], "a boat": [storm], "a journey": [journey]}.get(p, [load_line])
    return fill(rng, "[Tell me|Write] a [short |]story about {x}.", {"x": p}), story(rng, plots=plots)


def reading(rng):
    """A short text and questions that only the text answers."""
    w = someone(rng)
    f = someone(rng, avoid=(w,))
    t, c, p, food = rng.choice(list(THINGS)), rng.choice(COLOURS), rng.choice(PLACES), rng.choice(FOODS)
    n = NUMBERS[rng.randint(2, 12)]
    text = ["%s is a %s %s." % (w.name, w.trait, w.kind), "%s has %s %s." % (cap(w.he), article(c), t), "%s lives near %s." % (w.name, p), "%s likes %s." % (cap(w.he), food), "The best friend of %s is %s the %s." % (w.name, f.name, f.kind), "%s is %s years old." % (w.name, n)]
    head, rest = text[0], text[1:]
    rng.shuffle(rest)
    qs = [("What colour is the %s?" % t, "The %s is %s." % (t, c)), ("Where does %s live?" % w.name, "%s lives near %s." % (w.name, p)), ("What does %s like?" % w.name, "%s likes %s." % (w.name, food)), ("Who is the best friend of %s?" % w.name, "The best friend of %s is %s the %s." % (w.name, f.name, f.kind)),
          ("How old is %s?" % w.name, "%s is %s years old." % (w.name, n)), ("Who has a %s?" % t, "%s has a %s." % (w.name, t)), ("What kind of animal is %s?" % w.name if w.animal else "Is %s a girl or a boy?" % w.name, "%s is a %s." % (w.name, w.kind))]
    rng.shuffle(qs)
    turns = [(" ".join([head] + rest) + rng.choice(("\n", " ")) + qs[0][0], qs[0][1])] + qs[1:rng.randint(1, 4)]
    return turns


def fix(s):
    import re
    return re.sub(r"\b([Aa]) (?=[aeio]|um|honest)", r"\1n ", s)


def one(rng):
    """One question and one answer."""
    r = rng.random()
    if r < 0.20:
        return animal_qa(rng)
    if r < 0.32:
        x, a = rng.choice(FACTS)
        q = fill(rng, "[What is {x}?|What is {x}?|Tell me about {x}.|Explain what {x} is.|Do you know what {x} is?|what is {x}]", {"x": x})
        return q, a
    if r < 0.46:
        q, a = rng.choice(QA)
        return fill(rng, q, {}), fill(rng, a, {})
    if r < 0.58:
        return arithmetic(rng)
    if r < 0.64:
        x = rng.choice(list(FEELINGS))
        if rng.random() < 0.5:
            good = x in ("happy", "proud", "curious", "excited", "calm", "grateful", "surprised")
            return fill(rng, "[I am|I feel|Today I am|I am a little] {x}.", {"x": x}), fill(rng, "[That is good to hear!|I am glad to hear that.|How nice!] [Why are you {x}?|What happened?|Tell me more.]" if good else "[I am sorry to hear that.|Oh, that is not nice.] [Why are you {x}?|What happened?|Would you like to talk about it?|Maybe a story will help.]", {"x": x})
        return fill(rng, "[When do people feel {x}?|Why do people feel {x}?|What does it mean to be {x}?]", {"x": x}), "People feel %s when %s." % (x, FEELINGS[x])
    if r < 0.70:
        n = rng.randint(2, 5)
        kind, pool = rng.choice([("animals", [plural(a) for a in ANIMALS]), ("colours", COLOURS), ("kinds of food", FOODS), ("feelings", list(FEELINGS)), ("places", [str(p) for p in PLACES]), ("birds", [plural(a) for a in ANIMALS if ANIMALS[a][0] == "bird"]), ("names for a cat", PETS)])
        items = rng.sample(list(pool), n)
        a = "\n".join("%d. %s" % (i + 1, cap(x)) for i, x in enumerate(items)) if rng.random() < 0.4 else cap(join(items)) + "."
        return fill(rng, "[Name|List|Tell me|Give me] {n} {k}.", {"n": number(rng, n), "k": kind}), a
    if r < 0.75:
        words = rng.sample(list(THINGS) + COLOURS + list(ANIMALS) + PETS, rng.randint(1, 5))
        x = " ".join(words)
        return fill(rng, "[Say|Repeat|Please say|Repeat after me:] {x}", {"x": x}), x
    if r < 0.79:
        a, b = rng.randint(1, 5), rng.randint(6, 15)
        return "Count from %d to %d." % (a, b), ", ".join(str(i) for i in range(a, b + 1))
    if r < 0.84:
        x = rng.choice(HARDX)
        return fill(rng, rng.choice(HARD), {"x": x}), fill(rng, HARDA, {"x": x})
    if r < 0.90:
        return fill(rng, WHOQ, {}), rng.choice(WHO)
    if r < 0.94:
        return fill(rng, CAN, {}), fill(rng, CANA, {})
    return fill(rng, "[It is|Today it is|The weather is] {w}[ today|].", {"w": rng.choice(WEATHER)}), fill(rng, "[Then wear something warm.|That is a good day for a walk.|That is a good day for a story.|The sea must look beautiful.|Do you like it?]", {})


def small_talk(rng):
    turns = [(fill(rng, HELLO, {}), fill(rng, HELLOA, {}))]
    if rng.random() < 0.5:
        turns.append((fill(rng, HOW, {}), fill(rng, HOWA, {})))
    if rng.random() < 0.4:
        n = rng.choice(GIRLS + BOYS)
        turns.append((fill(rng, "[My name is|I am|I'm|Call me] {n}.", {"n": n}), fill(rng, "[Nice to meet you, {n}!|Hello, {n}!|{n} is a good name.] [What can I do for you?|How are you?|]", {"n": n})))
        for _ in range(rng.randint(0, 2)):
            turns.append(one(rng))
        if rng.random() < 0.8:
            turns.append((fill(rng, "[What is my name?|Do you remember my name?|Who am I?]", {}), "Your name is %s." % n))
    for _ in range(rng.randint(0, 3)):
        turns.append(one(rng))
    if rng.random() < 0.5:
        turns.append((fill(rng, THANKS, {}), fill(rng, THANKSA, {})))
    if rng.random() < 0.3:
        turns.append((fill(rng, BYE, {}), fill(rng, BYEA, {})))
    return turns


CITIES = "London Paris Berlin Rome Madrid Tokyo Oslo Dublin Vienna Lisbon Bristol Hamburg Boston Cairo Sydney".split()


def tools(rng):
    """A system turn that lists tools, and an assistant that calls one and then words the result."""
    city, n, a, b = rng.choice(CITIES), rng.randint(-5, 30), rng.randint(1, 99), rng.randint(1, 99)
    item, who = rng.choice(list(THINGS)), rng.choice(GIRLS + BOYS)
    w = rng.choice(WEATHER)
    all_tools = [
        ("get_weather", "Get the weather of a city", {"city": "string"}, fill(rng, "[What is the weather in {c}?|How is the weather in {c}?|Is it cold in {c}?|What is the weather like in {c} today?]", {"c": city}), {"city": city}, {"weather": w, "temperature": n}, "It is %s in %s, and the temperature is %d degrees." % (w, city, n)),
        ("get_time", "Get the time in a city", {"city": "string"}, fill(rng, "[What time is it in {c}?|Tell me the time in {c}.]", {"c": city}), {"city": city}, {"time": "%d:%02d" % (n % 24, a % 60)}, "It is %d:%02d in %s." % (n % 24, a % 60, city)),
        ("add", "Add two numbers", {"a": "number", "b": "number"}, fill(rng, "[What is {a} + {b}?|Add {a} and {b}.|How much is {a} plus {b}?]", {"a": a, "b": b}), {"a": a, "b": b}, {"result": a + b}, "The result is %d." % (a + b)),
        ("search", "Search for something", {"query": "string"}, fill(rng, "[Search for a {i}.|Find a {i}.|Look for a {i}.]", {"i": item}), {"query": item}, {"found": a}, "I found %d results for %s." % (a, item)),
        ("send_message", "Send a message to somebody", {"to": "string", "text": "string"}, fill(rng, "[Tell {w} that the {i} is here.|Send {w} a message that the {i} is here.]", {"w": who, "i": item}), {"to": who, "text": "The %s is here." % item}, {"ok": True}, "I have sent the message to %s." % who),
    ]
    pick = rng.sample(all_tools, rng.randint(1, 3))
    lines = [json.dumps({"type": "function", "function": {"name": t[0], "description": t[1], "parameters": {"type": "object", "properties": {k: {"type": v} for k, v in t[2].items()}, "required": list(t[2])}}}) for t in pick]
    system = rng.choice(SYSTEM[:3]) + TOOLS_HEAD + "".join("\n" + l for l in lines) + TOOLS_TAIL
    turns = [("system", system)]
    for name, _, _, q, args, result, answer in pick[:1] if rng.random() < 0.6 else pick[:2]:
        if rng.random() < 0.12:
            q, answer = one(rng)
            turns += [("user", q), ("assistant", answer)]
            continue
        turns += [("user", q), ("assistant", "<tool_call>\n" + json.dumps({"name": name, "arguments": args}) + "\n</tool_call>"),
                  ("user", "<tool_response>\n" + json.dumps(result) + "\n</tool_response>"), ("assistant", answer)]
    return turns


TOOLS_HEAD = "\n\nYou may call these tools:\n<tools>"
TOOLS_TAIL = "\n</tools>\nTo call one, answer with\n<tool_call>\n{\"name\": <name>, \"arguments\": <arguments>}\n</tool_call>"


def chat(rng):
    """One conversation as a list of (role, text)."""
    r = rng.random()
    if r < 0.12:
        return tools(rng)
    if r < 0.40:
        turns = [story_chat(rng)]
        if rng.random() < 0.3:
            turns.append((fill(rng, THANKS, {}), fill(rng, THANKSA, {})) if rng.random() < 0.5 else one(rng))
        if rng.random() < 0.15:
            turns.insert(0, (fill(rng, HELLO, {}), fill(rng, HELLOA, {})))
    elif r < 0.55:
        turns = reading(rng)
    elif r < 0.75:
        turns = small_talk(rng)
    else:
        turns = [one(rng) for _ in range(rng.randint(1, 5))]
    out = [("system", rng.choice(SYSTEM))] if rng.random() < 0.4 else []
    for q, a in turns:
        out += [("user", fix(q)), ("assistant", fix(a) if not q.startswith(("Say", "Repeat", "Please say")) else a)]
    return out


def chatml(turns):
    return "\n".join("<|im_start|>%s\n%s<|im_end|>" % t for t in turns)
