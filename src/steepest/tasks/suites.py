"""Which tasks make a suite: data, by the names that ``load`` takes."""

from __future__ import annotations

SMALL = (
    "cancer-mlp",
    "diabetes-mlp",
    "digits-mlp",
    "digits-cnn",
    "digits-graph",
    "digits-multitask",
    "deep-linear",
    "quadratic(noise=0.5)",
)

SUITES: dict[str, tuple[str, ...]] = {
    "small": SMALL,
    "full": (*SMALL, "photo-autoencoder", "char-lstm", "char-transformer"),
    "multitask": ("digits-multitask", "two-scales", "planted-clusters", "digits-overlay"),
    "sick": ("adding-rnn", "digits-sigmoids", "exploding-rnn"),
}
"""``small``: a run of all takes ten seconds. ``full``: small, and what takes longer. ``multitask``: several
losses each, for the table of docs/multitask.md. ``sick``: what does not
train well, each for a known reason, for the doctor and for clipping; no score is taken from these."""
