"""Small stories: each plot is a function that fills templates and keeps track of who and what is in it."""
from grammar import cap, fill, join
from words import (BOYS, COLOURS, ELDERS, FEELINGS, FOODS, GIRLS, NUMBERS, PLACES, THINGS, Who, someone)

SAID = "[said|said|said|answered|replied]"


class Story:
    def __init__(self, rng, hero=None, thing=None, place=None):
        self.rng, self.paras, self.cur = rng, [], []
        h = hero or someone(rng)
        f = someone(rng, avoid=(h,))
        g = someone(rng, avoid=(h, f))
        p = place or rng.choice(PLACES)
        p2 = rng.choice([x for x in PLACES if x is not p])
        noun = thing or rng.choice(list(THINGS))
        col = rng.choice(COLOURS)
        elder, efem = rng.choice(ELDERS)
        self.env = dict(h=h, f=f, g=g, p=p, p2=p2, noun=noun, use=THINGS.get(noun, "look at"), o=col + " " + noun, col=col,
                        folk=rng.choice(p.folk), folk2=rng.choice(p2.folk), view=rng.choice(p.view), view2=rng.choice(p2.view),
                        elder=elder, eldhe="she" if efem else "he", food=rng.choice(FOODS), food2=rng.choice(FOODS),
                        n=NUMBERS[rng.randint(2, 9)])
        spots = list(p.spots)
        rng.shuffle(spots)
        if h.trait in ("proud", "stubborn", "lazy", "shy", "hungry", "dreamy") and rng.random() < 0.7:
            h.trait = rng.choice(("kind", "brave", "clever", "cheerful", "merry", "bold"))
        self.env.update(s1=spots[0], s2=spots[1], s3=spots[2])

    def say(self, *templates, **more):
        if more:
            self.env.update(more)
        for t in templates:
            s = fill(self.rng, t, self.env)
            if s:
                self.cur.append(s)

    def maybe(self, chance, *templates):
        if self.rng.random() < chance:
            self.say(*templates)

    def para(self):
        if self.cur:
            self.paras.append(" ".join(self.cur))
            self.cur = []

    def text(self):
        self.para()
        return "\n".join(self.paras)


def opening(s, short=False):
    h = s.env["h"]
    if h.animal:
        s.say("[Once upon a time|Once upon a time|Once upon a time|Long ago|Once|A long time ago], [there was a|there lived a] "
              "[{h.trait} {h.adj}|{h.adj}|{h.trait}|{h.trait} {h.adj}] {h.kind} [named|called|whose name was] {h.name}."
              if s.rng.random() < 0.75 else
              "{h.name} was a [{h.trait} {h.adj}|{h.trait}] {h.kind}[.| who lived near {p}.| who lived near {p}.]")
    else:
        s.say("[Once upon a time|Once upon a time|Once upon a time|Long ago|Once|A long time ago|In a small house], [there was a|there lived a] "
              "[{h.trait}|little|{h.trait}|young] {h.kind} [named|called|whose name was] {h.name}."
              if s.rng.random() < 0.75 else
              "{h.name} was a {h.trait} {h.kind} who lived [near {p}|near {p}|in a small house near {p}|with {h.his} {elder} near {p}].")
    if short:
        return
    s.maybe(0.45, "[{H.he} had a warm home and many friends.|{H.he} liked {food} more than anything else.|Every morning {h.he} got up early and looked at the sky."
            "|Everybody liked {h.him}, because {h.he} was so {h.trait}.|{H.he} lived with {h.his} {elder}, who told the best stories.|{H.he} was not very big, but {h.he} had a big heart."
            "|{H.he} liked to ask questions about everything.|{H.he} was always the first to wake up.|People said that nobody was as {h.trait} as {h.name}.]")


def weather(s):
    s.say("[One|One|On a] [sunny|cold|windy|warm|bright|grey|foggy|quiet|fine] [morning|day|afternoon|evening], {h} [went|walked|ran|came] {p.to}. "
          "[{view}|{view}|It was quiet there.|]")
    s.maybe(0.3, "[The sun was shining.|A soft wind was blowing.|There were no clouds in the sky.|It had rained in the night, and everything was wet.|The air was fresh and clean.]")


def moral(s, *lines):
    if s.rng.random() < 0.75:
        s.say(s.rng.choice(lines))
    if s.rng.random() < 0.3:
        s.say("[And they were friends from that day on.|That night {h} slept very well.|And if you go {p.to}, you may still see {h.him} there.|"
              "The moon rose over {p}, and all was quiet.|{H.he} never forgot that day.|Then it was time for supper, and there was {food} for everybody.|The end.|"
              "And everybody went home happy.|It had been a good day.]")


def lost(s):
    opening(s)
    s.say("{H.he} had a {o}, and {h.he} [loved it very much|took it everywhere|liked to {use} it every day|would not go to sleep without it].")
    s.maybe(0.5, "[It had been a gift from {h.his} {elder}.|{H.his} {elder} had given it to {h.him}.|It was the most beautiful {noun} in the world, or so {h.he} thought.]")
    weather(s)
    s.say("[But when|When] {h.he} [wanted to {use} the {noun}|looked for the {noun}|came home], [it was gone|it was not there|{h.he} could not find it].",
          "[{H} was very sad.|{H} began to cry.|\"Oh no! Where is my {noun}?\" {h.he} cried.|\"My {noun} is lost,\" {h.he} said sadly.|{H} felt a lump in {h.his} throat.]")
    s.para()
    s.say("{H.he} looked {s1}, but [it was not there|the {noun} was not there|there was nothing]. [Then {h.he} looked|{H.he} looked] {s2}, but [it was not there either|there was only a spider|there was only dust].")
    s.say("[Then|Just then|After a while] {f.name} the {f.kind} came by. \"[Why are you sad?|What is wrong?|What are you looking for?]\" {f.he} asked.",
          "\"[I have lost my {o}|I cannot find my {o}|My {o} is gone],\" [said|answered] {h}.",
          "\"[Do not worry|Do not cry|Be calm],\" said {f}. \"[I will help you.|We will look together.|Four eyes see more than two.]\"")
    s.para()
    s.say("They looked and looked. [At last|Finally|In the end], {f.he} [looked|searched] {s3}. [And there|There], {s3}, [was the {o}|lay the {o}]!")
    s.say("\"[You found it!|Here it is!|There it is!]\" cried {h}. [{H.he} was so happy that {h.he} danced.|{H.he} jumped for joy.|{H.he} hugged {f.name}.|{H.he} laughed and clapped.]",
          "\"Thank you, {f.name}! [You are a true friend.|You are very kind.|What can I do for you?|You must come to supper.]\"")
    moral(s, "[After that|From then on|From that day on], {h} [took better care of the {noun}|always put the {noun} in its place|and {f.name} were good friends].",
          "[Then they|The two friends] [shared some {food}|played together until the sun went down|walked home together].")


def stuck(s):
    s.say()
    opening(s)
    weather(s)
    s.say("[Suddenly|Then|There] {h.he} heard a [small|thin|sad|weak] voice. \"Help! [Please help me!|I am stuck!|Help me!]\"",
          "It was {f.name} the {f.kind}, who was stuck {s1}.")
    s.say("\"[How did you get there?|What happened?]\" asked {h}. \"I [wanted to find my {o}|was looking for some {food}|slipped and fell|was running too fast],\" {SAID} {f}. \"Now I cannot get out.\"".replace("{SAID}", SAID))
    s.para()
    s.say("[First {h.he} pulled, but {h.he} was not strong enough.|First {h.he} pushed, but nothing moved.|{H} tried to pull {f.him} out, but it did not work.] [{H.he} sat down and thought.|{H.he} did not give up.|\"We need a better plan,\" {h.he} said.]")
    s.say("[Then {h.he} found a long rope. {H.he} tied it to a tree and threw the end to {f.name}.|Then {h.he} found a strong stick and used it to make the gap wider.|Then {h.he} ran to {folk} and asked for help.|Then {h.he} called all {h.his} friends, and they pulled together.]",
          "[One, two, three, and|With one last pull|Slowly, slowly, and then all at once] {f} was free!")
    s.para()
    s.say("\"Thank you,\" said {f}. \"[You saved me.|I was so afraid.|I will never forget this.|Nobody else stopped to help.]\"",
          "\"[You would do the same for me|It was nothing|That is what friends are for|I am glad that you are well],\" {SAID} {h}.".replace("{SAID}", SAID))
    s.maybe(0.5, "[{n.x}|Some days later], {h} [fell into a hole|lost {h.his} way in the fog|was in trouble], and this time it was {f} who came to help.".replace("[{n.x}|Some days later]", "[A week later|Some days later|Not long after that]"))
    moral(s, "[So they learned that|And so everybody learned that] a small helper can do great things.", "When you help others, others will help you.", "Since then the two have been the best of friends.")


def fear(s):
    s.env["what"], s.env["why"] = s.rng.choice([("the dark", "there might be something under the bed"), ("deep water", "{h.he} could not see the bottom"), ("thunder", "it was so loud"),
                                  ("high places", "it was a long way down"), ("the night wind", "it sounded like a wolf"), ("the big dog", "it barked so loudly"), ("the fog", "{h.he} might lose {h.his} way")])
    s.env["why"] = fill(s.rng, s.env["why"], s.env)
    opening(s)
    s.say("There was only one thing that {h.he} did not like: {h.name} was afraid of {what}, because {why}.",
          "[{H.he} told nobody about it.|When {h.his} friends laughed, {h.he} looked at the ground.|{H.he} wished that {h.he} were brave.]")
    s.para()
    s.say("One [evening|night|day], {f.name} the {f.kind} [did not come home|called for help from {p}|was lost near {p}]. [Nobody else was there.|Everybody else was asleep.|The others were far away.]",
          "\"[I must go|Somebody must go|I have to help],\" [thought {h}|said {h}], [but {h.his} legs were shaking|and {h.his} heart beat fast|and {h.he} took a deep breath].",
          "{H.he} [took a small lantern|sang a song|counted to ten] and [went on|went out|started], step by step.")
    s.maybe(0.6, "[\"I am not brave,\" {h.he} said to {h.himself}, \"but I can walk one more step.\"|{H.he} thought of {h.his} friend, and that made {h.him} strong.|{what.x}|The way was long, but {h.he} did not turn back.]".replace("{what.x}|", ""))
    s.say("At last {h.he} found {f.name} {s1}. \"[You came!|I knew that you would come!|I was so alone!]\" cried {f}. \"[But are you not afraid?|Were you not afraid of {what}?]\"",
          "\"Yes,\" said {h}, \"[but you are my friend|but I came anyway|and I am still a little afraid|but together we are two].\"")
    s.para()
    s.say("[They walked home hand in hand.|They went home together.|Together they walked home under the stars.] [{Folk} was waiting for them with hot {soup}.|Everybody was glad to see them.|At home there was hot soup for both.]".replace("{soup}", "soup"))
    moral(s, "\"To be brave,\" said {h.his} {elder}, \"is to be afraid and to go all the same.\"", "After that, {what} did not seem so bad.", "{H} was still a little afraid of {what} sometimes, but now {h.he} knew what to do.")


MAKE = [("a boat", "wood and rope", "it filled with water", "closed the holes with tar", "sailed across the pond"),
        ("a cake", "flour, eggs and honey", "it was burnt on one side", "made a new one and watched the oven", "tasted wonderful"),
        ("a kite", "paper and string", "it fell to the ground", "gave it a longer tail", "flew high above the roofs"),
        ("a little house", "sticks and leaves", "the wind blew it down", "used stones and clay", "stood firm in the wind"),
        ("a bridge", "planks and rope", "it broke in the middle", "used thicker planks", "was strong enough for a cow"),
        ("a swing", "a board and two ropes", "a rope tore", "tied a better knot", "went up and down all day"),
        ("a raft", "logs and rope", "the logs drifted apart", "tied every log twice", "carried them down the river"),
        ("a snowman", "three big balls of snow", "its head fell off", "made the head smaller", "stood there until spring"),
        ("a scarecrow", "straw and an old coat", "the crows sat on its hat", "tied bells to its arms", "kept every crow away"),
        ("a cart", "wood and four wheels", "one wheel came off", "put a pin through the axle", "rolled all the way to the market")]


def make(s):
    m, of, bad, fix, good = s.rng.choice(MAKE)
    s.env.update(m=m, mm=m.split(" ", 1)[1], of=of, bad=bad, fix=fix, good=good)
    opening(s)
    s.say("One [morning|day|fine day] {h.he} [had an idea|said to {f.name} the {f.kind}, \"I have an idea\"]. {H.he} wanted to make {m}.",
          "[{H.he} took|{H.he} collected|{H.he} went {p.to} and got] {of}, and {h.he} worked [all morning|for two hours|until noon|until {h.his} hands were tired].")
    s.say("[But|At first it looked fine, but|Then {h.he} tried it, but] {bad}. [{H} was disappointed.|{H} was angry and kicked a stone.|\"Oh no,\" said {h}.|\"It does not work,\" {h.he} said.]")
    s.para()
    s.say("[{folk.x}|{Folk} saw it and said|{F.name} saw it and said|{H.his} {elder} saw it and said], \"[Nobody gets it right the first time.|Try again.|You learn from every mistake.|Think about what went wrong, and start again.]\"".replace("{folk.x}|", ""),
          "So {h.he} {fix}. [It took a long time.|{F.name} helped {h.him}.|This time {h.he} did not hurry.|{F.name} held one end, and {h.he} held the other.]")
    s.say("[And now the|In the end, the|When they tried it again, the] {mm} {good}! \"[We did it!|It works!|Look at that!]\" [cried|shouted] {h}.")
    moral(s, "{H.he} had learned that one must try more than once.", "\"The second try is often the better one,\" said {h.his} {elder}.", "{H} was proud, and {h.he} was right to be proud.")


def load_line(s):
    s.env.update(cap=s.rng.choice(["Captain Brown", "Captain Grey", "Captain Mary", "Captain Bell", "Captain Stone"]), cargo=s.rng.choice(["coal", "apples", "corn", "wool", "salt", "bricks", "barrels of oil", "potatoes"]),
                 ship=s.rng.choice(["Hope", "Swallow", "Morning Star", "Blue Whale", "Good Luck", "Silver Fish"]))
    s.env["che"] = "she" if "Mary" in s.env["cap"] else "he"
    s.say("[Once there was a ship named|In the harbour lay a ship named|There was once a fine ship called] the {ship}. Her captain was {cap}, and {h.name} the {h.kind} [lived on board|was the ship's helper|was the smallest member of the crew].",
          "One day they had to carry {cargo} [over the sea|to the next town|to an island far away]. [\"Bring more!\" called the captain.|\"Put in as much as you can,\" said the captain.] [Bag after bag went into the ship.|The crew carried and carried.]",
          "The ship sank lower and lower in the water.")
    s.para()
    s.say("On the side of the ship there was a white line. {H} [looked at it|saw it] and said, \"[Captain, the water has reached the line.|Stop! The line is almost under water.|Look at the load line, Captain!]\"",
          "\"[What does it matter?|A little more will do no harm,|It is only paint,]\" said {cap}.".replace(",]\" said", ",]\" said"),
          "\"The line shows how much the ship can carry safely,\" {SAID} {h}. \"[If the water is above it, the ship is too heavy.|If we load more, the waves will come in.|A ship that is too heavy cannot swim in a storm.]\"".replace("{SAID}", SAID))
    if s.rng.random() < 0.5:
        s.say("The captain [thought about it|looked at the line for a long time|scratched {his} chin]. \"[You are right|That is true],\" {che} said, and {n} bags were carried back to the land.".replace("{his}", "her" if s.env["che"] == "she" else "his"))
        s.para()
        s.say("[In the night there was a storm.|On the second day a great storm came.] The waves were as high as houses, but the {ship} [rose over them like a duck|stayed dry and safe|came through it all].",
              "\"[If we had taken more, we would be at the bottom of the sea|{H.name}, you have saved us all],\" said {cap}.")
    else:
        s.say("But the captain did not listen. [So they sailed.|The ropes were untied, and the ship sailed away.]")
        s.para()
        s.say("[Soon|In the evening|Before long] the wind grew strong, and water came over the side. \"[We are too heavy!|We are sinking!]\" cried the crew. [They had to throw half of the {cargo} into the sea.|They threw bag after bag into the waves.]",
              "[Slowly the ship rose again.|Then the line came out of the water, and the ship was safe.] \"I should have listened to you,\" said {cap} to {h}.")
    moral(s, "From that day on, the captain looked at the line before every voyage.", "It is better to carry less and to arrive.", "A good captain knows how much is enough.", "Since then, nobody on the {ship} has laughed about the line.")


def storm(s):
    opening(s)
    s.say("One day {h} and {f.name} the {f.kind} went out to sea in a small boat. [The water was calm and blue.|The sun was shining, and they sang.|They wanted to catch some fish.|They wanted to see the island.]",
          "[But then|After an hour|Suddenly] [the sky grew dark|black clouds came up|the wind began to blow], and the waves [grew higher and higher|became as high as hills].")
    s.say("\"[I am afraid|We must go back|Hold on tight],\" said {f}. [The rain beat on their faces.|The boat went up and down.|They could not see the land any more.|The sail tore in two.]")
    s.para()
    s.say("[Then {h} saw a small light.|\"Look!\" cried {h}. \"A light!\"|But far away a light was blinking.] It was the lighthouse. [The keeper had lit the lamp.|Its light went round and round.] {H.he} turned the boat [towards|to] it, and they rowed [with all their strength|as hard as they could|together, left and right].",
          "[At last|After a long time], the boat touched the sand. They were [wet and cold, but they were safe|tired, but happy|safe].")
    s.para()
    s.say("The lighthouse keeper gave them [dry clothes and hot soup|warm blankets and tea|{food} and a place by the fire]. \"[The sea is beautiful, but one must respect it|Always look at the sky before you sail|Good that you saw my lamp],\" said the keeper.")
    moral(s, "{H} promised to look at the clouds next time.", "Since then, {h.he} has never laughed at the weather.", "And whenever {h.he} sees the lighthouse, {h.he} waves to the keeper.")


def newfriend(s):
    opening(s)
    s.say("But {h} was [lonely|often alone], because [there was nobody to play with|{h.he} had just moved to a new home|all the others were older|{h.he} was too shy to speak to anybody].")
    weather(s)
    s.say("There {h.he} saw {f.name}, a {f.trait} {f.kind}, who was [playing with a {o}|sitting all alone|eating {food}|looking at the clouds].",
          "{H} [wanted to say hello, but {h.he} did not dare|stood there and did not know what to say|hid {s1} and watched].")
    s.para()
    s.say("[Then|After a while|In the end] {f} [looked up|saw {h.him}] and smiled. \"Hello! [My name is {f.name}.|I am {f.name}.] [What is your name?|Who are you?|And you?]\"",
          "\"[I am|My name is] {h.name},\" {h.he} said [quietly|shyly|in a small voice].", "\"[Do you want to play with me?|Would you like to {use} my {noun}?|Would you like some {food}?|Shall we play together?]\" asked {f}.",
          "[\"Oh yes!\" said {h}.|{H} nodded and smiled.|\"I would like that very much,\" said {h}.]")
    s.say("They [played until the evening|ran, jumped and laughed|told each other stories] and [forgot the time|had a lot of fun|laughed a lot].")
    moral(s, "From that day on, {h} was never lonely again.", "One small word, hello, had made a new friend.", "\"You only have to say hello,\" {h.he} told {h.his} {elder} that night.")


def plant(s):
    s.env["plant"] = s.rng.choice(["an apple tree", "a sunflower", "a rose", "a pumpkin", "a bean", "a cherry tree", "a carrot"])
    s.env["pl"] = s.env["plant"].split(" ", 1)[1]
    opening(s)
    s.say("One spring day, {h.his} {elder} gave {h.him} a seed. \"Put it into the earth,\" {eldhe} said, \"and {plant} will grow.\"",
          "So {h} [dug a little hole|made a hole in the ground], put in the seed and gave it water.",
          "The next day {h.he} looked, but there was nothing. [The day after that there was nothing either.|After {n} days there was still nothing.] \"[It is not growing!|Why does it take so long?|Maybe the seed is asleep],\" said {h}.".replace("asleep]", "asleep.]").replace(".],\"", ".]\"").replace("],\" said", "]\" said"))
    s.para()
    s.say("[{F.name} the {f.kind}|{Folk}] came by and said, \"[A seed needs three things: water, sun and time.|You cannot pull a plant out of the ground to make it grow faster.|Good things need time.]\"",
          "So {h} waited. [It rained, and the sun shone.|Every day {h.he} brought water.|{H.he} sang to the seed every evening.]",
          "[Then one morning|And one morning], there was a small green leaf! [{H} was so happy that {h.he} told everybody.|\"It is alive!\" cried {h}.] Day by day it grew taller, and in the end it was the finest {pl} [of all|in the whole village|that anybody had ever seen].")
    moral(s, "{H} had learned to be patient.", "\"You see,\" said {h.his} {elder}, \"you gave it water, and time did the rest.\"", "And in autumn {h.he} had new seeds, which {h.he} gave to {h.his} friends.")


def truth(s):
    s.env["vase"] = s.rng.choice(["blue vase", "big mirror", "window", "best plate", "clock", "old lamp", "tea pot"])
    opening(s)
    s.say("One day {h} was playing with a {o} [in the house|in the kitchen|in the hall], although {h.his} {elder} had said, \"[Not inside, please|Please play outside].\"",
          "[Crash!|Bang!|There was a loud noise.] The {vase} [fell down and broke|was broken|lay in pieces on the floor].", "[Nobody had seen it.|{H} was alone.] {H.he} hid the pieces [under the bed|behind the curtain|in a box].")
    s.para()
    s.say("In the evening {h.his} {elder} asked, \"Where is the {vase}?\" \"[I do not know|The cat broke it|The wind did it],\" said {h}. But [that night {h.he} could not sleep|{h.his} stomach felt like a stone|{h.he} could not eat {h.his} supper].",
          "[At last|In the end|In the morning], {h.he} went to {h.his} {elder} and said, \"I broke the {vase}, and I did not tell the truth. I am sorry.\"")
    s.say("{H.his} {elder} [was quiet for a moment|looked at {h.him} for a long time|took {h.his} hand]. \"[I am sad about the {vase}, but I am glad that you told me|A {vase} can be mended. Trust is harder to mend|It takes courage to tell the truth],\" {eldhe} said.",
          "[Together they put the pieces together again.|Then they cleaned the floor together.|Together they bought a new one.]")
    moral(s, "{H} felt light again.", "That night {h.he} slept very well.", "After that, {h} always told the truth, even when it was hard.")


HELPED = [("a thirsty tree", "gave it some water", "a sweet apple", "ate the apple and was strong again"), ("a fish on the dry sand", "put it back into the water", "a shining scale", "held up the scale, and it shone in the dark"),
          ("a bird with a tired wing", "carried it to its nest", "a white feather", "wrote a letter with the feather"), ("an old woman with a heavy bag", "carried the bag up the hill", "a ball of red wool", "followed the wool, and it showed the way"),
          ("a bee in a spider's web", "set it free", "a pot of honey", "gave the honey to the hungry bear, and the bear let them pass"), ("a mouse with no bread", "shared {food} with it", "a small key", "opened the locked gate with the key"),
          ("a broken bridge", "put a new board in it", "a thank-you from the bridge keeper and a rope", "climbed down the cliff with the rope"), ("a sad clown", "told him a joke", "a red ball", "threw the ball for the wild dog, and the dog ran after it"),
          ("a lost lamb", "brought it back to the shepherd", "a warm cloak", "was warm on the cold mountain"), ("a boatman without an oar", "made him a new oar", "a ride in his boat", "crossed the wide lake"),
          ("a frog in a dry well", "pulled it out with a bucket", "a wise word", "remembered the wise word and did not turn back"), ("an old horse in the rain", "led it under a roof", "a horse shoe for good luck", "had luck on the narrow path")]
GOALS = [("the lost star", "it had fallen from the sky, and the nights were dark", "put it back into the sky"), ("the golden bell", "without it nobody in the village knew the time", "hung it in the tower again"),
         ("the healing herb", "{h.his} {elder} was ill", "made tea from it, and {elder} was well again"), ("the spring of clear water", "the well at home was dry", "led the water to the village"),
         ("the end of the rainbow", "{h.he} wanted to know what was there", "found that it was a place where everybody was kind"), ("the old sea chest", "it held the map of all the islands", "gave the map to the captain"),
         ("the singing shell", "the sea had lost its song", "gave the sea its song again"), ("the summer bird", "winter did not want to end", "brought the summer back"),
         ("{h.his} lost brother", "he had gone out to sea and had not come back", "brought him home"), ("the book of all stories", "nobody could remember a story any more", "read from it every evening")]


def journey(s, episodes=None):
    goal, why, end = s.rng.choice(GOALS)
    s.env.update(goal=fill(s.rng, goal, s.env), why=fill(s.rng, why, s.env), end=fill(s.rng, end, s.env))
    opening(s)
    s.say("One day {h} set out to find {goal}, because {why}. [{H.his} {elder} gave {h.him} some {food} for the way.|{H.he} took a {o} and some {food}.|{F.name} the {f.kind} said, \"I will come with you,\" and so they were two.|\"[Be careful|Be kind to everybody|Come back soon],\" said {h.his} {elder}.]")
    eps = list(HELPED)
    s.rng.shuffle(eps)
    eps = eps[:episodes or s.rng.randint(1, 3)]
    places = [p for p in PLACES]
    s.rng.shuffle(places)
    for i, (who, did, gift, used) in enumerate(eps):
        s.para()
        p = places[i % len(places)]
        s.env.update(q=p, qview=s.rng.choice(p.view), who=who, did=fill(s.rng, did, s.env), gift=gift)
        s.say(("[First {h.he} came {q.to}.|The way led {q.to} first.] " if i == 0 else "[Then|After that|The next day|Next|A little later] {h.he} came {q.to}. ") + "[{qview}|{qview}|]",
              "There {h.he} [met|saw|found] {who}. \"[Help me, please|Can you help?|Nobody has time for me],\" [it seemed to say|{h} heard]. ".replace("?|", "|") if s.rng.random() < 0.4 else "There {h.he} [met|saw|found] {who}.",
              "[{H} was in a hurry, but {h.he} stopped and {did}.|{H} did not think long. {H.he} {did}.|{H} {did}.]",
              "[As a thank-you {h.he} got {gift}.|\"Take this,\" {h.he} heard, and there was {gift}.|So {h.he} was given {gift}.]")
    s.para()
    s.say("[The last part of the way was the hardest.|Then came the hardest part.|At last {h.he} could see the place from far away.]")
    for who, did, gift, used in eps:
        s.say("[Now|Here|Then] {h} " + used.replace("{food}", "food") + ".")
    s.say("[And so|And then] {h.he} found {goal}. {H} took a deep breath. [Then {h.he} went home and|{H.he} hurried home and] {end}.")
    moral(s, "\"I could not have done it alone,\" said {h}.", "All the small good deeds had come back to {h.him}.", "Everybody came to a great feast, and there was {food} and {food2}.", "Who helps on the way arrives in the end.")


def share(s):
    opening(s)
    s.say("One day {h} had {food}. [It smelled wonderful.|There was not very much.|There was nothing else in the house.] {H.he} sat down {p.at} [to eat|and wanted to eat it all alone].")
    s.maybe(0.5, "{view}")
    s.say("Then {f.name} the {f.kind} came along. \"[I am so hungry|I have not eaten since yesterday|That smells good],\" said {f}. \"[May I have a little?|Can I have some?|Would you share it with me?]\"",
          "[{H} looked at the {food}. \"If I share it, there will be less for me,\" {h.he} thought.|\"No, it is mine,\" said {h} at first. But then {h.he} saw how sad {f} was.|{H} thought about it for a moment.]",
          "Then {h.he} [gave {f.name} half of it|broke it into two parts|said, \"Sit down, there is enough for two,\" and made room].")
    s.para()
    s.say("[They ate and talked and laughed.|It tasted much better with a friend.] [\"Tomorrow I will bring {food2},\" said {f}.|And the next day {f} brought {food2}, and again they shared.|In winter, when {h} had nothing left, {f} came with a basket full of {food2}.]")
    moral(s, "Half a meal with a friend is better than a whole one alone.", "{H} had learned that sharing makes everybody richer.", "From then on they ate together every {day}.".replace("{day}", "[Sunday|Friday|evening]"))


def race(s):
    opening(s)
    s.say("{H.he} could [run|swim|climb] faster than anybody else, and {h.he} [said so every day|liked to talk about it|never stopped talking about it].",
          "\"[I am the fastest!|Nobody can beat me!]\" {h.he} said. \"[I will race with you|Let us see],\" said {f.name} the {f.kind} [quietly|with a smile]. [Everybody laughed, because {f} was so slow.|The others could not believe it.]")
    s.para()
    s.say("The next morning they met {p.at}. {Folk} called, \"One, two, three, go!\" {H} was [away like the wind|soon far in front], and {f} came [slowly behind|step by step].")
    s.say("[{H} looked back and saw nobody. \"I have time for a little sleep,\" {h.he} thought, and lay down {s1}.|Half way, {h} stopped to eat {food}.|{H} stopped to talk to everybody and to tell them how fast {h.he} was.]",
          "But {f} [went on and on|did not stop once|did not look left or right]. [When {h} saw it, it was too late.|When {h} woke up, the sun was already low.] {F} was the first to [touch the old tree|cross the line|reach the end].")
    s.para()
    s.say("[{H} was ashamed.|{H} was angry at first, but then {h.he} had to laugh.] \"You have won, {f.name},\" {h.he} said. \"[How did you do it?|That was a good race.]\" \"[I just kept going|Step by step],\" {SAID} {f}.".replace("{SAID}", SAID))
    moral(s, "Slow and steady wins the race.", "From that day on, {h} talked less and ran more.", "It does not help to be fast if you do not go on.")


def noise(s):
    s.env["src"] = s.rng.choice(["an open window that moved in the wind", "a small mouse with a nut", "the cat, who was playing with a {noun}", "a branch that knocked on the glass", "{f.name} the {f.kind}, who was looking for {food}", "the old clock, which needed oil", "a hedgehog with its nose in a cup"])
    s.env["src"] = fill(s.rng, s.env["src"], s.env)
    opening(s)
    s.say("One night {h.he} woke up. [There was a strange noise.|Something went tap, tap, tap.|Something went scratch, scratch.|Something was moving in the dark.] \"[What is that?|Who is there?]\" {h.he} whispered. Nobody answered.",
          "[{H} pulled the blanket over {h.his} head.|{H.his} heart went boom, boom.|\"Maybe it is a ghost,\" {h.he} thought.|\"Maybe it is a thief,\" {h.he} thought.] But the noise [came again|did not stop|grew louder].")
    s.para()
    s.say("So {h.he} got up and [lit a candle|took a lantern|woke {h.his} {elder}]. [Slowly|Quietly|Step by step] {h.he} went [down the stairs|to the kitchen|along the dark hall]. {H.he} opened the door, and there was {src}!",
          "{H} [laughed and laughed|had to laugh|was so glad]. \"[And I was afraid of you!|So it was you!|That is all!]\" {h.he} said.")
    moral(s, "Most noises are small when you turn on the light.", "Then {h.he} went back to bed and slept until the morning.", "In the morning {h.he} told the story to everybody, and the ghost grew bigger every time.")


def quarrel(s):
    opening(s)
    s.say("{H.his} best friend was {f.name} the {f.kind}. They did everything together.", "But one day they both wanted [to {use} the same {noun}|the last of the {food}|to be the captain of the boat]. \"It is mine!\" said {h}. \"No, mine!\" said {f}.",
          "[They pulled and pulled, until it fell to the ground.|They shouted at each other.|\"You are not my friend any more!\" said {f}.] Then {h.he} went [left|home], and {f} went [right|away].".replace("Then {h.he}", "Then {h}"))
    s.para()
    s.say("The next day {h} sat alone {p.at}. {view} But [it was no fun without {f.name}|nothing was fun any more|{h.he} did not see it]. \"[I was wrong|I should say sorry|A {noun} is only a {noun}, but a friend is a friend],\" {h.he} thought.",
          "[So {h.he} went to find {f.name}.|So {h.he} got up and ran.] Half way [they met|{f} came towards {h.him}], because {f} had thought the same.",
          "\"I am sorry,\" said {h}. \"[I am sorry too|No, I am sorry],\" said {f}. [And then they both laughed.|They hugged each other.] \"[We can take turns|Let us share it|You may have it first],\" said {h}.")
    moral(s, "A good friend is worth more than being right.", "Since then they have taken turns.", "It is hard to say sorry, but it makes the heart light.")


def trade(s):
    opening(s)
    things = s.rng.sample(list(THINGS), 4)
    peo = [s.rng.choice(p.folk) for p in s.rng.sample(PLACES, 3)]
    s.env.update(t0=things[0], t1=things[1], t2=things[2], t3=things[3], p0=peo[0], p1=peo[1], p2x=peo[2])
    s.say("One day {h} found a {t0} {p.at}. \"[I do not need it|What shall I do with it?],\" {h.he} thought, and {h.he} walked on.".replace("?],\"", "],\""),
          "On the way {h.he} met {p0}, who [needed|was looking for] a {t0}. \"Give me the {t0}, and I will give you a {t1},\" said {p0}. So {h} gave away the {t0} and got the {t1}.",
          "[Soon|A little later] {h.he} met {p1}, who [needed|wanted] a {t1}. \"I have a {t2} for it,\" said {p1}. So {h} gave away the {t1} and got the {t2}.")
    s.para()
    s.say("[Then|At last] {h.he} met {p2x}, who [was sad, because there was no {t2} in the whole village|had always wanted a {t2}]. \"For the {t2} I will give you a {t3},\" said {p2x}. So {h} gave away the {t2} and got the {t3}.",
          "In the evening {h.he} gave the {t3} to {f.name} the {f.kind}. \"[It is just what I wanted!|How did you know?|It is beautiful!]\" said {f}.")
    moral(s, "So the {t0} had made four people happy.", "And it had all begun with one {t0}.", "{H} had nothing in {h.his} hands, but {h.he} was happy.")


def gift(s):
    opening(s)
    s.say("Tomorrow was the birthday of {f.name} the {f.kind}, and {h} [had no gift|did not know what to give]. {H.he} counted {h.his} money. It was only {n} pennies.",
          "{H.he} went {p.to}. {view} [Everything there was too dear.|A {o} cost much more than that.] \"[What can I do?|What shall I give?]\" {h.he} thought.")
    s.para()
    s.say("Then {h} had an idea. {H.he} [collected flowers and made a crown|painted a picture of the two of them|made a {o} out of wood|wrote a poem|made {food}|learned a song]. [It took the whole evening.|{H.he} worked until late at night.]",
          "The next day, {f} opened the gift. {F.he} was quiet for a moment. Then {f.he} said, \"[You made this for me?|You made it yourself!] [It is the best gift of all.|I will keep it for ever.]\"")
    moral(s, "A gift does not have to be dear to be good.", "Then there was {food} for everybody, and they danced until night.", "{H} was even happier than {f.name}.")


def winter(s):
    s.say("It was [autumn|late autumn|October], and the leaves were [red and yellow|falling].")
    s.say("{H.name}, a {h.trait} {h.kind}, was [collecting|carrying home] [wood and {food}|nuts, roots and {food}]. All day {h.he} went back and forth. {F.name} the {f.kind} [lay in the sun|was playing with a {o}] and laughed. \"Why do you work so hard? [The sun is shining!|Come and play!]\"",
          "\"[Winter is coming|The snow will come soon|In winter nothing grows],\" {SAID} {h}. \"[You should collect something too.|Have you put something by?]\" \"[Tomorrow|Later|There is time],\" said {f}.".replace("{SAID}", SAID))
    s.para()
    s.say("Then the snow came. [Everything was white and cold.|The lake was frozen, and the wind howled.] {F} was [cold and hungry|shaking with cold]. {F.he} went from door to door, and at last {f.he} knocked at the door of {h.name}.",
          "[\"Come in,\" said {h}. \"There is enough for two.\"|{H} could have said, \"I told you so.\" But {h.he} only said, \"Come in and get warm.\"]",
          "They sat by the fire all winter. [{F} told stories and sang songs|{F} played music|{F} swept the floor and cooked], and [so the long nights were short|so each of them gave what they had].")
    moral(s, "And the next autumn {f} was the first to collect {food}.", "\"Next year I will help you,\" said {f}, and {f.he} did.", "Who thinks of winter in summer is warm in winter.")


def learn(s):
    s.env["skill"], s.env["first"] = s.rng.choice([("swim", "drank a lot of water"), ("ride", "fell into the grass"), ("read", "could not tell the letters apart"), ("whistle", "only blew air"), ("skate", "sat down hard on the ice"),
                         ("dance", "stepped on everybody's feet"), ("sail", "turned in circles"), ("play the flute", "made a terrible noise"), ("climb the big tree", "slid down again"), ("tie a knot", "tied {h.his} own fingers together")])
    s.env["first"] = fill(s.rng, s.env["first"], s.env)
    opening(s)
    s.say("{H.he} wanted to learn to {skill}. [All the others could do it already.|{F.name} the {f.kind} could do it so well.] On the first day {h.he} {first}. [The others laughed.|It was not easy at all.] \"I will never learn it,\" {h.he} said.",
          "\"[Nobody can do it on the first day|I needed a whole summer to learn it|Every day a little],\" said {folk}. \"[Try again tomorrow.|Come, I will show you.]\"")
    s.para()
    s.say("So {h} tried again [the next day, and the day after that|every morning before breakfast|{p.at}, where nobody could see {h.him}]. [On the {n}th day|After {n} weeks|Little by little] it went better.".replace("On the {n}th day|", ""),
          "[Then one day|And suddenly], {h.he} could {skill}! \"[Look at me!|I can do it!]\" {h.he} shouted. {F} [clapped|cheered|was the first to clap].")
    moral(s, "It had taken a long time, but it was worth it.", "Practice had done it.", "Now {h.he} teaches the little ones, and {h.he} never laughs at them.")


def wish(s):
    opening(s)
    s.say("One day {h} found a {o} {s1}. When {h.he} [touched it|picked it up|cleaned it], a [small|friendly|soft] voice said, \"You have one wish. [Think well.|Choose well.]\"",
          "{H} thought about it. [\"I could wish for all the {food} in the world,\" {h.he} thought. But then {h.he} would be ill.|\"I could wish to be big and strong,\" {h.he} thought. But would {h.his} friends still know {h.him}?|\"I could wish for gold,\" {h.he} thought. But one cannot eat gold.]".replace("?|", "?|"))
    s.para()
    s.say("Then {h.he} saw {f.name} the {f.kind}, who [was ill|had hurt {f.his} leg|was sad because {f.his} house had burnt down|could not find {f.his} way home]. {H} did not think any longer. \"I wish that {f.name} is well and happy,\" {h.he} said.",
          "[There was a flash of light.|A warm wind blew.] And {f} [smiled|laughed|jumped up]! The {noun} was [only a {noun} again|quiet now|gone].", "\"You gave your wish away,\" said {f}. \"Why?\" \"[Because you are my friend|I had everything that I needed|What good is a wish if you are sad],\" {SAID} {h}.".replace("{SAID}", SAID))
    moral(s, "The best wish is the one for somebody else.", "Of all the wishes it was the best one.", "And {h} had a good friend for ever.")


def together(s):
    s.env["weight"] = s.rng.choice(["a great stone lay on the road", "a big tree had fallen over the path", "a cart was stuck in the mud", "a heavy boat lay on the dry sand", "a huge turnip would not come out of the ground"])
    s.env["wn"] = next(w for w in ("stone", "tree", "cart", "boat", "turnip") if w in s.env["weight"])
    opening(s)
    s.say("One day, near {p}, {weight}. {H} [pushed and pulled|pulled with all {h.his} strength], but it did not move.",
          "Then {f.name} the {f.kind} came. \"Let me help,\" said {f}. They pulled together, but the {wn} did not move.",
          "Then {g.name} the {g.kind} came. \"Let me help,\" said {g}. Now they were three, and the {wn} moved a little. \"[We are still too few|We need one more],\" said {h}.")
    s.para()
    s.say("At last a tiny {tiny} came. \"May I help?\" it asked. [Everybody laughed. \"You? You are much too small!\"|\"You are so small,\" said {f}, \"but come.\"] All four pulled together. One, two, three, and the {wn} [moved|rolled away|came free]!", tiny=s.rng.choice(["ant", "mouse", "beetle", "bee"]))
    moral(s, "Nobody is too small to help.", "What one cannot do, many can.", "Then they all sat down and ate {food} together.")


def ask_wise(s):
    q, a = s.rng.choice([("What is the strongest thing in the world?", "Water. It is soft, but it makes holes in stones"), ("How can I become wise?", "Listen twice as much as you speak. That is why we have two ears and one mouth"),
                         ("Why is the sea salty?", "The rivers bring salt from the stones, and the sea keeps it"), ("What is always coming but never arrives?", "Tomorrow. So do what you can today"), ("How do I find a friend?", "Be one"),
                         ("Why do the stars only shine at night?", "They shine in the day too, but the sun is too bright for us to see them"), ("What is more than gold?", "A friend, bread when you are hungry, and a good night's sleep"),
                         ("How much can I carry?", "As much as you can and still float. Every good ship has a line that shows it"), ("Where does the wind go?", "Round the whole world, and then it comes back to you")])
    s.env.update(q=q, a=a)
    opening(s)
    s.say("One question did not let {h.him} sleep: \"{q}\"", "{H.he} asked {h.his} {elder}, but {eldhe} did not know. {H.he} asked {f.name} the {f.kind}, but {f.he} only [laughed|shook {f.his} head|said, \"Ask somebody else\"].", "\"Go {p.to} and ask {folk},\" said {f}.")
    s.para()
    s.say("So {h} went {p.to}. {view} {Folk} [was sitting in the sun|was drinking tea|was mending a net|was half asleep]. \"{q}\" asked {h}.", "{Folk} [thought for a long time|smiled|looked at the clouds]. \"{a},\" {folk} said.")
    s.say("{H} [thought about it all the way home|said thank you and ran home|thought about it for a whole week]. [It was a good answer.|The longer {h.he} thought, the better {h.he} liked the answer.|\"Now I can sleep,\" {h.he} said.]")
    moral(s, "But the next morning {h.he} had a new question.", "It is good to ask, and it is better to think.", "")


def market(s):
    a, b = s.rng.randint(4, 10), s.rng.randint(1, 5)
    b = min(b, a - 2)
    c = s.rng.randint(1, 5)
    fruit = s.rng.choice(["apples", "pears", "eggs", "oranges", "plums", "buns"])
    s.env.update(a=NUMBERS[a], b=NUMBERS[b], c=NUMBERS[c], ab=NUMBERS[a - b], abc=NUMBERS[a - b + c], fruit=fruit)
    opening(s)
    s.say("One morning {h.his} {elder} sent {h.him} to the market to buy {a} {fruit}. [It was loud and full of people.|Everything smelled of bread and oranges.] {H.he} bought the {fruit} and put them into {h.his} basket.",
          "On the way home {h.he} met {f.name} the {f.kind}, who was hungry. So {h} gave {f.him} {b} of the {fruit}. Now there were {ab} left.")
    s.para()
    s.say("A little later {g.name} the {g.kind} came along. \"[I have too many {fruit}|My basket is too heavy],\" said {g}, and gave {h.him} {c}. Now {h} had {abc}.",
          "At home {h.his} {elder} counted. \"{Abc} {fruit}!\" {eldhe} said. \"" + ("That is just right.\"" if a - b + c == a else "[How did that happen?|I asked for {a}.]\" And {h} told the whole story.") + "")
    moral(s, "Then they made {food} and ate it together.", "{Elder} was not angry at all, but laughed.".replace("{Elder}", "{H.his} {elder}"), "")


PLOTS = [lost, lost, stuck, stuck, fear, make, make, load_line, storm, newfriend, plant, truth, journey, journey, journey, share, race, noise, quarrel, trade, gift, winter, learn, wish, together, ask_wise, market]


def story(rng, hero=None, thing=None, place=None, plots=None, **kw):
    s = Story(rng, hero, thing, place)
    rng.choice(plots or PLOTS)(s, **kw)
    return s.text()


def long_story(rng):
    """Several chapters about the same hero and friend: long enough that the far context matters."""
    h = someone(rng)
    f = someone(rng, avoid=(h,))
    out, place = [], rng.choice(PLACES)
    chapters = rng.randint(3, 6)
    plots = rng.sample([p for p in PLOTS if p is not winter and p is not newfriend], chapters)
    for i in range(chapters):
        s = Story(rng, h, place=place if rng.random() < 0.5 else None)
        s.env["f"] = f
        while s.env["g"].name == f.name or s.env["g"].kind == f.kind:
            s.env["g"] = someone(rng, avoid=(h, f))
        plots[i](s)
        body = s.text()
        out.append("Chapter %s\n%s" % (cap(NUMBERS[i + 1]), body))
    return "\n".join(out)
