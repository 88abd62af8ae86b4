"""The network: a plain Llama (RMSNorm, rotary positions, grouped-query attention, SwiGLU, tied embeddings).

Master weights are float32. Activations and matrix products are bfloat16: on a CPU with AMX that is a hundred
times faster than Debian's float32 torch, and it still runs, slower, on one without.
Positions rotate the two halves of a head against each other here; export.py reorders the rows of the query and
key matrices into the adjacent-pair order which GGUF's architecture "llama" means.
"""
import math
import torch
import torch.nn as nn
import torch.nn.functional as F

BF = torch.bfloat16

CONFIG = dict(vocab=2048, dim=256, layers=6, heads=4, kv_heads=2, head_dim=64, ffn=768,
              eps=1e-5, theta=10000.0, context=2048)


class RmsNorm(torch.autograd.Function):
    """x / rms(x), without the gain (the gain is multiplied into the next matrix). Few passes over memory."""

    @staticmethod
    def forward(ctx, x, eps):
        r = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        r = (r * r / x.shape[-1] + eps).rsqrt_().to(x.dtype)
        y = x * r
        ctx.save_for_backward(y, r)
        return y.to(BF)

    @staticmethod
    def backward(ctx, dy):
        y, r = ctx.saved_tensors
        dy = dy.to(y.dtype)
        m = (dy * y).mean(-1, keepdim=True)
        return (dy - y * m).mul_(r), None


class SwiGlu(torch.autograd.Function):
    """silu(g) * u; torch's own bfloat16 silu costs three times its sigmoid."""

    @staticmethod
    def forward(ctx, g, u):
        s = torch.sigmoid(g)
        a = g * s
        ctx.save_for_backward(s, a, u)
        return a * u

    @staticmethod
    def backward(ctx, d):
        s, a, u = ctx.saved_tensors
        du = d * a
        d = d * u
        # silu'(g) = s + a - a*s
        dg = torch.addcmul(a, a, s, value=-1).add_(s).mul_(d)
        return dg, du


class TiedLoss(torch.autograd.Function):
    """Mean cross-entropy of softmax(x @ e.T) and its gradients in one go, so that logits are touched four times."""

    @staticmethod
    def forward(ctx, x, e, y):
        n = x.shape[0]
        logits = x @ e.t()
        picked = logits.gather(1, y[:, None]).float().squeeze(1)
        top = logits.amax(1, keepdim=True)
        p = logits.sub_(top).exp_()
        s = p.sum(1, keepdim=True, dtype=torch.float32)
        loss = (s.log().squeeze(1) + top.float().squeeze(1) - picked).mean()
        p.mul_((1.0 / (s * n)).to(BF))
        p.scatter_add_(1, y[:, None], torch.full((n, 1), -1.0 / n, dtype=BF))
        ctx.save_for_backward(p @ e, p.t() @ x)
        return loss

    @staticmethod
    def backward(ctx, d):
        dx, de = ctx.saved_tensors
        return dx * d.to(BF), de * d.to(BF), None


class Attention(torch.autograd.Function):
    """Causal attention in blocks of queries, so that most of the masked half is never computed.

    q: (n, group, t, head_dim), k and v: (n, t, head_dim); n counts pairs of a sequence and a key/value head, and
    `group` the query heads that share it. The scale is already in q.
    """

    @staticmethod
    def forward(ctx, q, k, v):
        n, group, t, dim = q.shape
        step = 128 if t % 128 == 0 else t
        mask = torch.full((step, step), -1e30, dtype=q.dtype).triu_(1).repeat(group, 1)
        out, probs = torch.empty_like(q), []
        for i in range(0, t, step):
            s = torch.bmm(q[:, :, i:i + step].reshape(n, group * step, dim), k[:, :i + step].transpose(1, 2))
            s[:, :, i:] += mask
            p = torch.softmax(s, -1)
            out[:, :, i:i + step] = torch.bmm(p, v[:, :i + step]).view(n, group, step, dim)
            probs.append(p)
        ctx.save_for_backward(q, k, v, out, *probs)
        ctx.step = step
        return out

    @staticmethod
    def backward(ctx, d_out):
        q, k, v, out, *probs = ctx.saved_tensors
        n, group, t, dim = q.shape
        step = ctx.step
        dq = torch.empty_like(q)
        dk, dv = torch.zeros_like(k), torch.zeros_like(v)
        row = (d_out * out).sum(-1)
        for i, p in zip(range(0, t, step), probs):
            end = i + step
            d = d_out[:, :, i:end].reshape(n, group * step, dim)
            dv[:, :end] += torch.bmm(p.transpose(1, 2), d)
            ds = torch.bmm(d, v[:, :end].transpose(1, 2))
            ds.sub_(row[:, :, i:end].reshape(n, group * step, 1)).mul_(p)
            dq[:, :, i:end] = torch.bmm(ds, k[:, :end]).view(n, group, step, dim)
            dk[:, :end] += torch.bmm(ds.transpose(1, 2), q[:, :, i:end].reshape(n, group * step, dim))
        return dq, dk, dv


class Llama(nn.Module):
    def __init__(self, cfg=CONFIG):
        super().__init__()
        self.cfg = cfg
        c = type("C", (), cfg)
        self.c = c
        kv = c.kv_heads * c.head_dim
        d = c.dim

        def mat(rows, cols, scale=1.0):
            return nn.Parameter(torch.randn(rows, cols) * scale / math.sqrt(cols))

        out = 1.0 / math.sqrt(2 * c.layers)
        self.embed = nn.Parameter(torch.randn(c.vocab, d) * 0.05)
        self.final_norm = nn.Parameter(torch.ones(d))
        self.blocks = nn.ModuleList()
        for _ in range(c.layers):
            b = nn.Module()
            b.attn_norm = nn.Parameter(torch.ones(d))
            b.ffn_norm = nn.Parameter(torch.ones(d))
            b.q, b.k, b.v = mat(c.heads * c.head_dim, d), mat(kv, d), mat(kv, d)
            b.o = mat(d, c.heads * c.head_dim, out)
            b.gate, b.up = mat(c.ffn, d), mat(c.ffn, d)
            b.down = mat(d, c.ffn, out)
            self.blocks.append(b)
        half = c.head_dim // 2
        freq = c.theta ** (-torch.arange(half, dtype=torch.float64) / half)
        ang = torch.outer(torch.arange(c.context, dtype=torch.float64), freq)
        self.cos, self.sin = ang.cos().to(BF), ang.sin().to(BF)

    def rotate(self, x, t):
        """x: (batch, heads, t, head_dim)."""
        a, b = x.chunk(2, -1)
        cos, sin = self.cos[:t], self.sin[:t]
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    def hidden(self, tokens):
        """(batch, t) token ids -> final normed state without the final gain, and the embedding with it."""
        c = self.c
        batch, t = tokens.shape
        x = F.embedding(tokens, self.embed).view(batch * t, c.dim)
        scale = c.head_dim ** -0.5
        for b in self.blocks:
            n = RmsNorm.apply(x, c.eps)
            ga = b.attn_norm
            w = torch.cat((b.q * (ga * scale), b.k * ga, b.v * ga)).to(BF)
            qkv = (n @ w.t()).view(batch, t, c.heads + 2 * c.kv_heads, c.head_dim).transpose(1, 2)
            qk, v = qkv.split((c.heads + c.kv_heads, c.kv_heads), 1)
            q, k = self.rotate(qk, t).split((c.heads, c.kv_heads), 1)
            o = Attention.apply(q.reshape(batch * c.kv_heads, -1, t, c.head_dim),
                                k.reshape(batch * c.kv_heads, t, c.head_dim),
                                v.reshape(batch * c.kv_heads, t, c.head_dim))
            o = o.view(batch, c.heads, t, c.head_dim).transpose(1, 2).reshape(batch * t, -1)
            x = x + (o @ b.o.to(BF).t())
            n = RmsNorm.apply(x, c.eps)
            h = SwiGlu.apply(n @ (b.gate * b.ffn_norm).to(BF).t(), n @ (b.up * b.ffn_norm).to(BF).t())
            x = x + (h @ b.down.to(BF).t())
        return RmsNorm.apply(x, c.eps), (self.embed * self.final_norm).to(BF)

    def loss(self, tokens, targets):
        x, e = self.hidden(tokens)
        return TiedLoss.apply(x, e, targets.reshape(-1))
