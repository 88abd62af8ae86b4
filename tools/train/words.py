"""Word tables and the people, animals, places and things of the stories. All written for this project."""
import re

GIRLS = ("Mia Anna Lily Rosa Ella Nora Ruth Clara Ivy Maya Zoe Lucy Hazel Alma Tilda Greta Wren June Kate Sara "
         "Ada Dora Elsie Flora Hope Iris Jane Lena Molly Nell Olive Pearl Sofia Tess Vera").split()
BOYS = ("Tom Ben Sam Max Leo Jack Finn Otto Hugo Paul Noah Felix Oscar Toby Will Peter Arlo Karl Owen Ravi "
        "Adam Bram Dan Eli Fred George Henry Ian Jonas Luke Ned Oliver Robin Simon Theo").split()
PETS = ("Pip Dot Rusty Bramble Clover Moss Pebble Button Nutmeg Tiny Scout Daisy Biscuit Willow Sandy Poppy Pepper "
        "Ginger Misty Tansy Barley Acorn Maple Fern Juniper Cricket Patch Smoky Snowy Thistle").split()

# kind: (kind of animal, colour, food, home, sound verb, size, legs, how it moves, one fact, young)
ANIMALS = {
    "fox": ("mammal", "red", "mice and berries", "a den", "bark", "middle-sized", 4, "trot", "A fox has a thick, bushy tail that keeps it warm.", "cub"),
    "rabbit": ("mammal", "brown", "grass and carrots", "a burrow", "squeak", "small", 4, "hop", "A rabbit has long ears and can hear very well.", "kitten"),
    "bear": ("mammal", "brown", "fish and honey", "a cave", "growl", "big", 4, "walk", "A bear sleeps through most of the winter.", "cub"),
    "mouse": ("mammal", "grey", "seeds and cheese", "a hole in the wall", "squeak", "tiny", 4, "run", "A mouse can fit through a very small hole.", "pup"),
    "owl": ("bird", "brown", "mice", "a hollow tree", "hoot", "middle-sized", 2, "fly", "An owl sleeps in the day and hunts at night.", "owlet"),
    "duck": ("bird", "yellow", "plants and worms", "a nest by the pond", "quack", "small", 2, "swim", "A duck has feathers that keep the water out.", "duckling"),
    "frog": ("amphibian", "green", "flies", "a pond", "croak", "small", 4, "jump", "A frog starts its life as a tadpole.", "tadpole"),
    "cat": ("mammal", "black", "fish and mice", "a house", "meow", "small", 4, "creep", "A cat can see well when there is little light.", "kitten"),
    "dog": ("mammal", "brown", "meat and bones", "a kennel", "bark", "middle-sized", 4, "run", "A dog has a very good nose.", "puppy"),
    "hedgehog": ("mammal", "brown", "worms and beetles", "a pile of leaves", "snuffle", "small", 4, "shuffle", "A hedgehog rolls into a ball when it is afraid.", "hoglet"),
    "squirrel": ("mammal", "red", "nuts and seeds", "a tall tree", "chatter", "small", 4, "climb", "A squirrel hides nuts in autumn and eats them in winter.", "kit"),
    "seal": ("mammal", "grey", "fish", "the cold sea", "bark", "big", 0, "swim", "A seal has thick fat that keeps it warm in cold water.", "pup"),
    "whale": ("mammal", "blue", "tiny sea animals", "the deep sea", "sing", "huge", 0, "swim", "A whale must come up to the air to breathe.", "calf"),
    "gull": ("bird", "white", "fish and scraps", "a cliff", "cry", "middle-sized", 2, "fly", "A gull can drink salt water.", "chick"),
    "crab": ("crustacean", "red", "plants and small animals", "a hole in the sand", "click", "small", 10, "walk sideways", "A crab has a hard shell and two strong claws.", "young crab"),
    "turtle": ("reptile", "green", "plants and jellyfish", "the warm sea", "hiss", "middle-sized", 4, "swim", "A turtle carries its shell wherever it goes.", "hatchling"),
    "horse": ("mammal", "brown", "grass and oats", "a stable", "neigh", "big", 4, "gallop", "A horse can sleep standing up.", "foal"),
    "cow": ("mammal", "white", "grass", "a field", "moo", "big", 4, "walk", "A cow gives milk.", "calf"),
    "sheep": ("mammal", "white", "grass", "a field", "bleat", "middle-sized", 4, "walk", "A sheep gives wool, and wool makes warm clothes.", "lamb"),
    "goat": ("mammal", "white", "grass and leaves", "a hill", "bleat", "middle-sized", 4, "climb", "A goat can climb steep rocks.", "kid"),
    "pig": ("mammal", "pink", "roots and apples", "a sty", "grunt", "big", 4, "walk", "A pig rolls in mud to keep cool.", "piglet"),
    "hen": ("bird", "brown", "corn", "a coop", "cluck", "small", 2, "walk", "A hen lays eggs.", "chick"),
    "bee": ("insect", "yellow", "nectar", "a hive", "buzz", "tiny", 6, "fly", "A bee makes honey from the nectar of flowers.", "grub"),
    "ant": ("insect", "black", "crumbs and leaves", "a nest in the ground", "click", "tiny", 6, "crawl", "An ant can carry things much heavier than itself.", "grub"),
    "spider": ("arachnid", "black", "flies", "a web", "tap", "tiny", 8, "crawl", "A spider makes a web of fine silk.", "spiderling"),
    "snail": ("mollusc", "brown", "leaves", "its own shell", "hum", "tiny", 0, "crawl", "A snail moves very slowly and leaves a silver trail.", "young snail"),
    "lion": ("mammal", "yellow", "meat", "the dry grassland", "roar", "big", 4, "run", "A lion lives with its family, which is called a pride.", "cub"),
    "tiger": ("mammal", "orange", "meat", "the forest", "roar", "big", 4, "creep", "A tiger has black stripes, and no two tigers have the same ones.", "cub"),
    "elephant": ("mammal", "grey", "leaves and fruit", "the warm grassland", "trumpet", "huge", 4, "walk", "An elephant uses its long trunk like a hand.", "calf"),
    "giraffe": ("mammal", "yellow", "leaves", "the warm grassland", "hum", "huge", 4, "walk", "A giraffe has a long neck and can reach the top of a tree.", "calf"),
    "monkey": ("mammal", "brown", "fruit and nuts", "the forest", "chatter", "middle-sized", 4, "climb", "A monkey can hold a branch with its tail.", "infant"),
    "penguin": ("bird", "black and white", "fish", "the cold south", "honk", "middle-sized", 2, "waddle", "A penguin is a bird that cannot fly, but it swims very well.", "chick"),
    "wolf": ("mammal", "grey", "meat", "the forest", "howl", "big", 4, "run", "A wolf lives in a family that is called a pack.", "pup"),
    "deer": ("mammal", "brown", "grass and leaves", "the forest", "call", "big", 4, "leap", "A deer can run fast and jump high.", "fawn"),
    "badger": ("mammal", "black and white", "worms and roots", "a deep burrow", "grunt", "middle-sized", 4, "dig", "A badger is a strong digger and keeps its home clean.", "cub"),
    "otter": ("mammal", "brown", "fish", "the river bank", "whistle", "middle-sized", 4, "swim", "An otter sleeps on its back and floats on the water.", "pup"),
    "beaver": ("mammal", "brown", "bark and leaves", "a lodge of sticks", "slap", "middle-sized", 4, "swim", "A beaver cuts down trees with its teeth and builds dams.", "kit"),
    "dolphin": ("mammal", "grey", "fish", "the sea", "whistle", "big", 0, "swim", "A dolphin is clever and likes to play in the waves.", "calf"),
    "butterfly": ("insect", "orange", "nectar", "the garden", "flutter", "tiny", 6, "fly", "A butterfly begins its life as a caterpillar.", "caterpillar"),
    "robin": ("bird", "brown", "worms and seeds", "a nest in the hedge", "sing", "small", 2, "fly", "A robin has a bright red chest.", "chick"),
    "crow": ("bird", "black", "seeds and scraps", "a high nest", "caw", "middle-sized", 2, "fly", "A crow is clever and can use a stick as a tool.", "chick"),
    "swan": ("bird", "white", "water plants", "a nest by the lake", "hiss", "big", 2, "swim", "A swan has a long, curved neck.", "cygnet"),
    "donkey": ("mammal", "grey", "grass and hay", "a stable", "bray", "big", 4, "walk", "A donkey can carry a heavy load.", "foal"),
    "mole": ("mammal", "black", "worms", "a tunnel", "squeak", "small", 4, "dig", "A mole lives under the ground and can hardly see.", "pup"),
    "bat": ("mammal", "black", "insects", "a cave", "squeak", "small", 2, "fly", "A bat sleeps upside down and flies at night.", "pup"),
}
SIZES = ["tiny", "small", "middle-sized", "big", "huge"]
HEROES = [a for a in ANIMALS if a not in ("whale", "giraffe", "elephant", "spider", "ant", "bat", "wolf", "tiger", "cow", "butterfly", "bee")]

COLOURS = "red blue green yellow white black brown grey orange purple pink silver golden".split()
TRAITS = ("kind brave clever shy curious gentle cheerful quiet lively careful patient stubborn proud lazy "
          "friendly honest busy dreamy hungry bold thoughtful merry").split()
NUMBERS = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
           "seventeen eighteen nineteen twenty").split()

# noun: what one does with it
THINGS = {
    "ball": "play with", "kite": "fly", "wooden boat": "sail", "bell": "ring", "compass": "look at", "scarf": "wear",
    "lantern": "carry", "map": "read", "paper hat": "wear", "whistle": "blow", "marble": "roll", "mitten": "wear",
    "story book": "read", "key": "keep", "shell": "listen to", "drum": "play", "basket": "carry", "umbrella": "open",
    "ribbon": "wear", "spinning top": "spin", "blanket": "sleep under", "feather": "keep", "button": "keep",
    "toy train": "push", "paint brush": "paint with", "flute": "play", "stone": "hold", "ring": "wear", "coat": "wear",
    "little cart": "pull", "coin": "save", "cup": "drink from", "teddy bear": "hug", "telescope": "look through",
}
FOODS = ("bread", "cheese", "soup", "apples", "pears", "honey cake", "berries", "porridge", "pancakes", "nuts",
         "plum pie", "carrots", "fish stew", "biscuits", "cherries", "warm milk", "potatoes", "jam", "rice", "noodles")
WEATHER = ("sunny", "rainy", "windy", "cold", "warm", "foggy", "snowy", "bright", "cloudy", "stormy")
FEELINGS = {
    "happy": "something good has happened", "sad": "something is missing", "angry": "something seems unfair",
    "afraid": "something seems dangerous", "tired": "the day has been long", "proud": "hard work has gone well",
    "lonely": "nobody is near", "curious": "there is something new to learn", "bored": "there is nothing to do",
    "excited": "something good will happen soon", "nervous": "nobody knows what will happen", "calm": "all is well",
    "surprised": "something happens that nobody expected", "grateful": "somebody has been kind",
    "jealous": "somebody else has what we want", "sorry": "we have hurt somebody",
}


class Place:
    """A place, with what is said of it and where one may look for a lost thing."""

    def __init__(self, name, prep, spots, view, folk):
        self.name, self.prep, self.spots, self.view, self.folk = name, prep, spots, view, folk
        self.at = prep + " " + name
        self.to = "to " + name

    def __str__(self):
        return self.name


PLACES = [
    Place("the harbour", "at", ["behind the fish boxes", "under an old net", "between two barrels", "on the stone steps", "inside an empty boat"],
          ["The boats rocked on the water.", "Gulls cried above the masts.", "The air smelled of salt and tar.", "Ropes creaked in the wind.", "A big ship was waiting for the tide."],
          ["the old fisherman", "the harbour master", "the captain"]),
    Place("the forest", "in", ["under a fern", "behind a fallen tree", "in a heap of leaves", "between the roots of an oak", "beside a mossy stone"],
          ["The trees were tall and green.", "Sunlight fell between the leaves.", "It smelled of moss and mushrooms.", "Somewhere a bird was singing.", "The path was soft under the feet."],
          ["the woodcutter", "the wise owl", "the old badger"]),
    Place("the garden", "in", ["under the rose bush", "behind the shed", "in the long grass", "beside the well", "among the cabbages"],
          ["Bees went from flower to flower.", "The roses were red and the lilies were white.", "The apples were almost ripe.", "A snail sat on a wet leaf.", "The grass was wet with dew."],
          ["the gardener", "grandmother", "the old tortoise"]),
    Place("the beach", "on", ["under a heap of seaweed", "behind a big rock", "in a rock pool", "beside a sand castle", "in the soft sand"],
          ["The waves rolled in and out.", "The sand was warm and white.", "Small crabs ran over the stones.", "Far away a sail was shining.", "Shells lay everywhere."],
          ["the old sailor", "the shell seller", "the wise turtle"]),
    Place("the village", "in", ["under a bench", "behind the bakery", "beside the fountain", "near the church door", "on the bridge"],
          ["Smoke rose from the chimneys.", "The baker was putting out fresh bread.", "Children played near the fountain.", "The clock in the tower struck nine.", "A cart rolled slowly over the stones."],
          ["the baker", "the teacher", "the blacksmith"]),
    Place("the river", "by", ["under the bridge", "among the reeds", "behind a willow", "on a flat stone", "beside the old mill"],
          ["The water was clear and quick.", "Dragonflies danced over the reeds.", "The mill wheel turned slowly.", "Little fish swam against the stream.", "A willow bent down to the water."],
          ["the miller", "the ferryman", "the old otter"]),
    Place("the hill", "on", ["behind a grey rock", "under a thorn bush", "in the tall grass", "beside the stone wall", "near the old windmill"],
          ["The wind blew over the grass.", "One could see the whole valley.", "Sheep moved slowly like small clouds.", "The sky was wide and blue.", "The windmill turned round and round."],
          ["the shepherd", "the miller", "the old goat"]),
    Place("the lighthouse", "at", ["at the bottom of the stairs", "behind the oil cans", "under the window", "on the rocks", "beside the door"],
          ["The light went round and round.", "The waves broke on the rocks.", "The tower was white with a red top.", "From the top one could see every ship.", "The stairs went up and up."],
          ["the lighthouse keeper", "the old sailor", "the keeper's daughter"]),
    Place("the farm", "on", ["in the hay", "behind the barn", "under the cart", "beside the pig sty", "in the hen house"],
          ["The hens walked about and looked for corn.", "The cows were eating grass.", "A horse put its head over the gate.", "The barn smelled of hay.", "The dog slept in the sun."],
          ["the farmer", "the farmer's wife", "the old horse"]),
    Place("the market", "at", ["under a table", "behind a pile of pumpkins", "between the baskets", "beside the cheese stall", "near the flower cart"],
          ["People were buying and selling.", "There were apples, eggs, fish and flowers.", "A man was playing a fiddle.", "It was loud and full of colours.", "Everything smelled of bread and oranges."],
          ["the baker", "the fruit seller", "the fish wife"]),
    Place("the lake", "by", ["among the reeds", "under the landing stage", "behind a boat house", "on a flat rock", "beside a birch tree"],
          ["The water was as smooth as glass.", "A swan went by without a sound.", "The mountains were upside down in the water.", "A fish jumped and made a ring.", "Mist lay over the water."],
          ["the boat builder", "the wise heron", "the old fisherman"]),
    Place("the school", "at", ["under a desk", "behind the blackboard", "on the window sill", "in the cupboard", "near the coats"],
          ["The children were reading aloud.", "There was a big map on the wall.", "The bell had just rung.", "Paper stars hung in the window.", "The room smelled of chalk."],
          ["the teacher", "the caretaker", "the music teacher"]),
    Place("the island", "on", ["under a palm tree", "in a small cave", "behind a rock", "beside a spring", "in the warm sand"],
          ["There was water on every side.", "Birds built their nests on the cliffs.", "A small stream ran down to the sea.", "Nobody had built a house there.", "The wind was warm and smelled of flowers."],
          ["the hermit", "the wise turtle", "the old parrot"]),
    Place("the castle", "in", ["behind a curtain", "under the long table", "on the tower stairs", "in an old chest", "beside the fire"],
          ["The walls were thick and grey.", "Flags moved in the wind.", "A hundred candles burned in the hall.", "The gate was made of oak.", "A cat slept on the throne."],
          ["the king", "the queen", "the cook"]),
]


class Who:
    """Somebody in a story: a name, a kind, and pronouns that stay the same."""

    def __init__(self, name, kind, female, trait, adj="little"):
        self.name, self.kind, self.trait, self.adj = name, kind, trait, adj
        self.female = female
        self.he, self.him, self.his, self.himself = ("she", "her", "her", "herself") if female else ("he", "him", "his", "himself")
        self.the = "the " + kind
        self.animal = kind in ANIMALS

    def ref(self, rng):
        r = rng.random()
        if r < (0.7 if self.animal else 0.92):
            return self.name
        return "the " + self.adj + " " + self.kind if self.adj and r > 0.93 else "the " + self.kind


def someone(rng, kind=None, avoid=()):
    """A child or an animal with a name; `avoid` lists people who are already in the story."""
    names = {w.name for w in avoid}
    kinds = {w.kind for w in avoid}
    while True:
        k = kind or (rng.choice(("girl", "boy")) if rng.random() < 0.45 else rng.choice(HEROES))
        if kind is None and k in kinds:
            continue
        female = k == "girl" or (k != "boy" and rng.random() < 0.5)
        name = rng.choice(PETS if k not in ("girl", "boy") and rng.random() < 0.7 else GIRLS if female else BOYS)
        if name not in names:
            return Who(name, k, female, rng.choice(TRAITS), rng.choice(("little", "little", "young", "small")))


ELDERS = [("grandmother", True), ("grandfather", False), ("mother", True), ("father", False), ("aunt", True), ("uncle", False)]


def animal_fact(rng, a):
    """A few true sentences about one kind of animal."""
    cls, col, food, home, sound, size, legs, move, fact, young = ANIMALS[a]
    s = ["A %s is a %s." % (a, cls), "It is often %s." % col, "It eats %s." % food, "It lives in %s." % home if not home.startswith(("a ", "the ", "its ")) else
         "Its home is %s." % home, fact]
    s.append("It has no legs." if legs == 0 else "It has %s legs." % NUMBERS[legs])
    s.append("A young %s is called a %s." % (a, young) if not young.startswith("young") else "It is a %s animal." % size)
    rest = s[1:]
    rng.shuffle(rest)
    text = " ".join([s[0]] + rest[:rng.randint(2, 5)])
    return re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", text)
