"""Writes a model of the llama architecture, small enough to be made in a moment: `python tiny_gguf.py KIND FILE [INNER]`.

Run by the engines' own Python, which has the `gguf` package. The vocabulary is the printable characters and a few words; one
embedding direction stands for each token, so that the output matrix says which token follows which:

- `right` answers every question with " four eight seven four eight ...", which every question of the stacks' user paths accepts;
- `random` has random weights: what it says is gibberish;
- `forgetful` is right until the prompt is long: uniform attention over the context finds the letter N of the look's filler text
  ("Note 1: ..."), and then it says the same word for ever.

INNER is the width of the feed-forward layers, all zeros: a large one makes the file large and loading take a while.
"""

from __future__ import annotations

import sys

import gguf
import numpy as np

WIDTH, HEADS, LAYERS, CONTEXT = 384, 6, 8, 8192
ANSWER = ("▁four", "▁eight", "▁seven")
LOST = "▁lost"
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"

Vocabulary = list[tuple[bytes, int]]


def vocabulary() -> Vocabulary:
    """(piece, kind of token) by id."""
    kinds = gguf.TokenType
    found: Vocabulary = [(b"<unk>", kinds.UNKNOWN), (b"<s>", kinds.CONTROL), (b"</s>", kinds.CONTROL)]
    found += [(f"<0x{byte:02X}>".encode(), kinds.BYTE) for byte in range(256)]
    found += [(chr(code).encode(), kinds.NORMAL) for code in range(33, 127)]
    return found + [(word.encode(), kinds.NORMAL) for word in ("▁", *ANSWER, LOST)]


def follows(words: Vocabulary) -> np.ndarray:
    """The output matrix: row = what comes next, column = what was there."""
    ids = {piece.decode(): at for at, (piece, _) in enumerate(words)}
    cycle = [ids[word] for word in ANSWER]
    table = np.zeros((len(words), WIDTH), np.float32)
    table[cycle[0], : len(words)] = 1.0
    for one, (before, after) in enumerate(zip(cycle, [*cycle[1:], cycle[0]], strict=True)):
        table[cycle[0], before] = 0.0 if one != len(cycle) - 1 else 1.0
        table[after, before] = 1.0
    table[:, ids[LOST]] = 0.0
    table[ids[LOST], ids[LOST]] = 1.0
    return table


def tensors(kind: str, words: Vocabulary, inner: int) -> dict[str, np.ndarray]:
    """Every tensor by its name, rows first."""
    chance = np.random.default_rng(7)
    random = kind == "random"

    def matrix(rows: int, columns: int) -> np.ndarray:
        if random:
            return chance.normal(0.0, 0.3, (rows, columns)).astype(np.float32)
        return np.zeros((rows, columns), np.float32)

    found = {
        "token_embd.weight": matrix(len(words), WIDTH) if random else np.eye(len(words), WIDTH, dtype=np.float32),
        "output_norm.weight": np.ones(WIDTH, np.float32),
        "output.weight": matrix(len(words), WIDTH) if random else follows(words),
    }
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for norm in ("attn_norm", "ffn_norm"):
            found[f"{block}{norm}.weight"] = np.ones(WIDTH, np.float32)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            found[f"{block}{part}.weight"] = matrix(WIDTH, WIDTH)
        for part, shape in (("gate", (inner, WIDTH)), ("up", (inner, WIDTH)), ("down", (WIDTH, inner))):
            found[f"{block}ffn_{part}.weight"] = matrix(*shape)
    if kind == "forgetful":
        ids = {piece.decode(): at for at, (piece, _) in enumerate(words)}
        found["blk.0.attn_v.weight"][0, ids["N"]] = 1.0  # one value: is this token an N?
        found["blk.0.attn_output.weight"][ids[LOST], 0] = 30.0  # its mean over the context drowns everything else
    return found


def main(kind: str, file: str, inner: int = 32) -> None:
    words = vocabulary()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name(f"tiny-{kind}")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece for piece, _ in words])
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types([int(kind) for _, kind in words])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    for name, values in tensors(kind, words, inner).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
