"""Secure aggregation in the federated scheme: participants mask their contributions, and the server learns the sum.

For the members u ∈ U of a round, each with a change x_u from the global model, quantized to integers modulo 2³²:

    y_u = x_u + PRG(b_u) + Σ_{v>u} PRG(s_uv) − Σ_{v<u} PRG(s_uv)      mod 2³²

The pairwise masks s_uv = s_vu, agreed on by X25519, cancel in the sum. The self-mask b_u protects a contribution
that comes after the server gave its sender up, and has opened its pairwise masks. Every member gives every other a
Shamir share of its b_u and of the key behind its s_uv, so that any t of them can open one or the other:

    gathering ──▶ sharing ──▶ masking ──▶ revealing ──▶ closing
    keys          shares      y_u         for who delivered: shares of b_u
                  (sealed)                for who dropped out: shares of the key behind s_uv

Nobody gives shares of both of one member, and t is more than half of the members: the server never gets both.

`words` is what is said, `Member` a participant's half of one attempt at a round, `MaskedSession` the server's half,
`MaskedTotal` its running sum. Everything is pure, and needs the package cryptography.

Source: Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning, CCS 2017 (eprint
2017/281), figure 4.
"""
