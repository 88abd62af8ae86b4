"""Train the model on the tokens that tokenizer.py wrote. See README.md for how to run it."""
import argparse
import ctypes
import json
import math
import os
import time

import numpy as np
import torch

from model import BF, CONFIG, Llama, TiedLoss

# glibc returns big freed blocks to the kernel at once; with tensors of tens of megabytes the page faults then
# cost more than the arithmetic. Keep the memory: M_MMAP_MAX 0, M_TRIM_THRESHOLD max.
try:
    libc = ctypes.CDLL(None)
    libc.mallopt(-4, 0)
    libc.mallopt(-1, 2 ** 31 - 1)
except (OSError, AttributeError):
    pass


def orthogonalise(g):
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrix (the Muon update), in bfloat16."""
    x = g.to(BF)
    flip = x.shape[0] > x.shape[1]
    if flip:
        x = x.t()
    x = x / (x.float().norm().to(BF) + 1e-7)
    for _ in range(5):
        a = x @ x.t()
        b = -4.7750 * a + 2.0315 * (a @ a)
        x = 3.4445 * x + b @ x
    return (x.t() if flip else x).float()


class Optimizer:
    """Muon for the matrices inside the blocks, AdamW for the embedding, plain Adam for the norm gains."""

    def __init__(self, model):
        self.mats, self.rest = [], []
        for name, p in model.named_parameters():
            (self.mats if p.dim() == 2 and name != "embed" else self.rest).append(p)
        self.m = [torch.zeros_like(p) for p in self.mats]
        self.a = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.rest]
        self.t = 0

    @torch.no_grad()
    def step(self, lr, adam_lr, decay):
        self.t += 1
        for p, m in zip(self.mats, self.m):
            m.mul_(0.95).add_(p.grad, alpha=0.05)
            u = orthogonalise(p.grad.mul(0.05).add_(m, alpha=0.95))
            p.mul_(1 - lr * decay).add_(u, alpha=-lr * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)
        b1, b2 = 0.9, 0.97
        for p, (m, v) in zip(self.rest, self.a):
            m.mul_(b1).add_(p.grad, alpha=1 - b1)
            v.mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
            d = (v / (1 - b2 ** self.t)).sqrt_().add_(1e-8)
            p.addcdiv_(m, d, value=-adam_lr / (1 - b1 ** self.t))
        for p in self.mats + self.rest:
            p.grad = None


class Stream:
    """Consecutive windows of one long token stream, in a seeded random order, anew for each length."""

    def __init__(self, path, seed):
        self.data = np.fromfile(path, dtype=np.uint16)
        self.rng = np.random.default_rng(seed)
        self.t, self.order, self.at = 0, None, 0

    def batch(self, n, t):
        if t != self.t or self.at + n > len(self.order):
            self.t, self.at = t, 0
            self.shift = int(self.rng.integers(0, t))
            self.order = self.rng.permutation((len(self.data) - 1 - self.shift) // t)
        rows = self.order[self.at:self.at + n] * t + self.shift
        self.at += n
        w = np.stack([self.data[r:r + t + 1] for r in rows]).astype(np.int64)
        w = torch.from_numpy(w)
        return w[:, :-1].contiguous(), w[:, 1:].contiguous()


@torch.no_grad()
def evaluate(model, data, t=512, windows=64):
    total = 0.0
    count = min(windows, (len(data) - 1) // t)
    for i in range(0, count, 8):
        rows = [data[j * t:j * t + t + 1] for j in range(i, min(i + 8, count))]
        w = torch.from_numpy(np.stack(rows).astype(np.int64))
        x, e = model.hidden(w[:, :-1].contiguous())
        logits = (x @ e.t()).float()
        total += torch.nn.functional.cross_entropy(logits, w[:, 1:].reshape(-1), reduction="sum").item()
    return total / (count * t)


def schedule(step, steps, finish):
    """(window in tokens, share of the learning rate) of a step."""
    done = step / steps
    if finish:  # fresh momentum, so a short warm-up; then down to nearly nothing
        return 1024 if done < 0.4 else CONFIG["context"], min(1.0, (step + 1) / 20) * 0.45 * max(0.04, 1 - done)
    # most of the run at 512, then 1024, then the full context
    t = 512 if done < 0.70 else 1024 if done < 0.88 else CONFIG["context"]
    return t, min(1.0, (step + 1) / 40) * (1.0 if done < 0.35 else max(0.02, 1 - (done - 0.35) / 0.65))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", default="build", help="folder with train.bin and heldout.bin; checkpoints go there")
    ap.add_argument("--steps", type=int, default=1150)
    ap.add_argument("--tokens", type=int, default=8192, help="tokens in one step")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--lr", type=float, default=0.02)
    ap.add_argument("--stop", type=int, default=0, help="end after this many of --steps; 0: at the end")
    ap.add_argument("--finish", action="store_true",
                    help="second stage: go on from the checkpoint with long windows, for --steps steps")
    args = ap.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    model = Llama(CONFIG)
    if args.finish:
        model.load_state_dict(torch.load(os.path.join(args.build, "checkpoint.pt"))["model"])
    opt = Optimizer(model)
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
    stream = Stream(os.path.join(args.build, "train.bin"), args.seed)
    held = {k: np.fromfile(os.path.join(args.build, k + ".bin"), dtype=np.uint16) for k in ("heldout", "heldout_stories")}
    log = open(os.path.join(args.build, "log.jsonl"), "a")
    start, seen, mean = time.time(), 0, None
    last = args.stop or args.steps
    for step in range(last):
        t, rate = schedule(step, args.steps, args.finish)
        micro = 8192
        loss_sum = 0.0
        parts = args.tokens // micro
        for _ in range(parts):
            x, y = stream.batch(micro // t, t)
            loss = model.loss(x, y) / parts
            loss.backward()
            loss_sum += loss.item()
        opt.step(args.lr * rate, 0.004 * rate, 0.02)
        seen += args.tokens
        mean = loss_sum if mean is None else 0.95 * mean + 0.05 * loss_sum
        if step % 50 == 0:
            print("step %d t %d loss %.4f mean %.4f tokens %.2fM %.0f s" %
                  (step, t, loss_sum, mean, seen / 1e6, time.time() - start), flush=True)
        if step % 200 == 199 or step == last - 1:
            torch.save({"config": CONFIG, "model": model.state_dict(), "step": step + 1},
                       os.path.join(args.build, "checkpoint.tmp"))
            os.replace(os.path.join(args.build, "checkpoint.tmp"), os.path.join(args.build, "checkpoint.pt"))
            h = {k: evaluate(model, d) for k, d in held.items()}
            rec = {"step": step + 1, "tokens": seen, "train": round(mean, 4), "seconds": round(time.time() - start),
                   **{k: round(v, 4) for k, v in h.items()}}
            print(json.dumps(rec), "perplexity %.3f" % math.exp(h["heldout"]), flush=True)
            log.write(json.dumps(rec) + "\n")
            log.flush()


if __name__ == "__main__":
    main()
