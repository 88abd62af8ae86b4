"""Write a corpus: documents separated by a line with only "<|end|>". The same seed gives the same text."""
import argparse
import random

from chat import FACTS, chat, chatml
from stories import long_story, story
from words import ANIMALS, animal_fact


def facts(rng):
    parts = [animal_fact(rng, rng.choice(list(ANIMALS))) if rng.random() < 0.6 else rng.choice(FACTS)[1] for _ in range(rng.randint(1, 4))]
    return "\n".join(parts)


def document(rng, kind=None):
    r = rng.random()
    if kind == "stories":
        return long_story(rng) if r < 0.1 else story(rng)
    if r < 0.42:
        return story(rng)
    if r < 0.48:
        return long_story(rng)
    if r < 0.52:
        return facts(rng)
    return chatml(chat(rng))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--seed", type=int, required=True)
    ap.add_argument("--bytes", type=int, required=True)
    ap.add_argument("--kind", choices=["all", "stories"], default="all")
    args = ap.parse_args()
    rng = random.Random(args.seed)
    done = 0
    with open(args.out, "w", encoding="utf-8") as f:
        while done < args.bytes:
            d = document(rng, args.kind)
            f.write(d + "\n<|end|>\n")
            done += len(d) + 9


if __name__ == "__main__":
    main()
