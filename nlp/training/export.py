"""From a checkpoint to the shipped folder: export to ONNX, quantise, prove parity, calibrate, write the manifest.

Owns the ONNX graph and the folder's content. Does not own training or serving.

    python -m nlp.training.export CHECKPOINT nlp/weights/small --data FOLDER

The model is named after its folder: warroom-small.

The linear layers become int8 with a scale for each output and a step for each input (`channel_int8`). The word
embedding keeps the 4-bit blocks of the base model (`word_table`), so its 135,000 rows take 29 MB and lose nothing. One
temperature per task is folded into the heads; what is left to calibrate per language family, and the thresholds of
doubt, are fitted on the answers of the finished file (`recalibrate`) and stand in the manifest.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from nlp import label_order, manifest
from nlp.network import MAX_TOKENS, PREFIX, Network, load_checkpoint, prefix_of
from nlp.onnx_cpu import session
from nlp.scorer import LABELS
from nlp.tokens import TextEncoder
from nlp.training.calibrate import best_temperature, features
from nlp.training.channel_int8 import in_int8
from nlp.training.corpora import Corpus, Example, own_corpora, own_files, sentiment_corpora
from nlp.training.loudness import loudest
from nlp.training.probe import fit_heads
from nlp.training.real_texts import real_corpora
from nlp.training.recalibrate import calibrated, report, written
from nlp.training.word_table import prepend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_OPSET: Final = 17
_IR: Final = 10
_DRIFT: Final = 0.04
"""Mean change of a probability by quantisation beyond which nothing is replaced."""
_SAMPLE: Final = 60
"""Texts of each corpus that show how loud the activations get."""
_CALIBRATION: Final = 400
"""Held-out texts of each corpus that set the temperatures, evenly picked."""


class Exported(nn.Module):  # type: ignore[misc, unused-ignore] # without the extra `gpu` its base is unknown
    """The graph without its embedding: word vectors and mask in, probabilities per task and the unit vector out."""

    def __init__(self, network: Network, tasks: Sequence[str]) -> None:
        """Wrap the network; `tasks` fixes the order of the outputs."""
        super().__init__()
        self.network, self.tasks = network, tasks

    def forward(self, words: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Return one tensor per task, then the embedding."""
        states = self.network.encoder(inputs_embeds=words, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * weights).sum(1) / weights.sum(1)
        unit = pooled / pooled.norm(dim=-1, keepdim=True)
        return (*(self.network.heads[task](pooled).softmax(-1) for task in self.tasks), unit)


def calibrate(network: Network, encoder: TextEncoder, corpora: list[Corpus]) -> dict[str, float]:
    """Divide each head by its best temperature on the held-out texts and return the temperatures."""
    found = {}
    picked = [example for corpus in corpora for example in _evenly(corpus.dev, _CALIBRATION)]
    pooled, known = features(network, encoder, picked)
    for task in LABELS:
        rows = [at for at, labels in enumerate(known) if task in labels]
        truth = np.array([known[at][task] for at in rows], dtype=np.int64)
        head = network.heads[task]
        with torch.no_grad():
            found[task] = round(best_temperature(head(pooled[rows]).double().numpy(), truth), 4)
            head.weight /= found[task]
            head.bias /= found[task]
    return found


def _evenly(examples: list[Example], count: int) -> list[Example]:
    return examples[:: max(1, len(examples) // count)]


def _export_float(network: Network, path: Path) -> None:
    words = torch.randn(2, 16, network.encoder.config.hidden_size)
    mask = torch.ones(2, 16, dtype=torch.long)
    mask[1, 10:] = 0
    outputs = [*LABELS, "embedding"]
    axes = {"words": {0: "batch", 1: "tokens"}, "attention_mask": {0: "batch", 1: "tokens"}}
    torch.onnx.export(
        Exported(network, list(LABELS)).eval(),
        (words, mask),
        str(path),
        input_names=["words", "attention_mask"],
        output_names=outputs,
        dynamic_axes=axes | {name: {0: "batch"} for name in outputs},
        opset_version=_OPSET,
        dynamo=False,
    )


def write_model(
    network: Network, checkpoint: Path, folder: Path, peaks: Mapping[str, NDArray[np.float32]], fine: int
) -> None:
    """Write `model.onnx`, which tells the checkpoint's own order of labels, and `tokenizer.json` into `folder`.

    `peaks` and `fine` are those of `channel_int8.in_int8`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        _export_float(network, Path(scratch, "float.onnx"))
        model = onnx.load(Path(scratch, "float.onnx"))
    in_int8(model, peaks, fine)
    prepend(model, checkpoint / "words.npz")
    model.ir_version = _IR
    order = model.metadata_props.add()
    order.key, order.value = label_order.KEY, label_order.stated({task: network.labels[task] for task in LABELS})
    onnx.save(model, folder / "model.onnx")
    shutil.copyfile(checkpoint / "tokenizer.json", folder / "tokenizer.json")


def parity(
    network: Network, folder: Path, encoder: TextEncoder, texts: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return per output the (mean, largest) absolute difference between the shipped file and the float network."""
    served = session(folder / "model.onnx")
    outputs = [*LABELS, "embedding"]
    gaps: dict[str, list[Any]] = {name: [] for name in outputs}
    for ids in encoder.encode([encoder.readable(text) for text in texts]):
        row = np.array([ids], dtype=np.int64)
        ours = served.run(outputs, {"input_ids": row, "attention_mask": np.ones_like(row)})
        with torch.inference_mode():
            words = network.encoder.embeddings.word_embeddings(torch.from_numpy(row))
            theirs = Exported(network, list(LABELS))(words, torch.ones(row.shape, dtype=torch.long))
        for name, mine, other in zip(outputs, ours, theirs, strict=True):
            gaps[name].append(np.abs(mine - other.numpy()))
    return {name: (float(np.mean(values)), float(np.max(values))) for name, values in gaps.items()}


def describe(
    folder: Path, temperatures: dict[str, float], notes: dict[str, str], size: str = "small", prefix: str = PREFIX
) -> manifest.Manifest:
    """Write and return the manifest of the files in `folder`; the revision is the start of the model's checksum.

    The labels are those that the graph tells of itself.
    """
    graph = onnx.load(folder / "model.onnx")
    tasks = label_order.told({entry.key: entry.value for entry in graph.metadata_props})
    files = {name: manifest.checksum(folder / name) for name in ("model.onnx", "tokenizer.json")}
    described = manifest.Manifest(
        format=manifest.FORMAT,
        model_id=f"warroom-{size}",
        revision=files["model.onnx"].sha256[:12],
        prefix=prefix,
        max_tokens=MAX_TOKENS,
        tasks=tasks or LABELS,
        temperatures=temperatures,
        embedding="embedding",
        files=files,
        notes=notes,
    )
    manifest.write(folder, described)
    return described


def export(checkpoint: Path, folder: Path, data: Path, *, refit: bool, fine: int) -> None:
    """Make the shipped folder; it replaces an older one only when it is complete and its drift is small."""
    network = load_checkpoint(checkpoint, attention="eager")
    _check_order(checkpoint, network)
    encoder = TextEncoder(Tokenizer.from_file(str(checkpoint / "tokenizer.json")), prefix_of(checkpoint), MAX_TOKENS)
    corpora = sentiment_corpora(data) + own_corpora(own_files()) + real_corpora(data)
    if refit:
        fit_heads(network, encoder, corpora, ("urgency", "intent"))
    temperatures = calibrate(network, encoder, corpora)
    print("temperatures", temperatures, flush=True)
    shown = [example for corpus in corpora for example in _evenly(corpus.train, _SAMPLE)]
    partial = folder.with_name(folder.name + ".part")
    write_model(network, checkpoint, partial, loudest(network, encoder, shown), fine)
    _check_parity(parity(network, partial, encoder, [e.text for corpus in corpora for e in corpus.dev[:20]]))
    made_at = {"made": datetime.now(UTC).isoformat(timespec="minutes")}
    describe(partial, temperatures, made_at, folder.name, prefix_of(checkpoint))
    fitted = calibrated(partial, corpora)
    print(report(fitted), flush=True)
    made = written(partial, fitted)
    _replace(folder, partial)
    total = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: revision {made.revision}, {total / 1e6:.1f} MB", flush=True)


def _check_order(checkpoint: Path, network: Network) -> None:
    """Refuse a checkpoint that counts its labels otherwise than the corpora, which set its temperatures, do."""
    for task, labels in LABELS.items():
        if (found := network.labels.get(task, ())) != labels:
            raise SystemExit(
                f"{checkpoint}: the labels of {task} are {', '.join(found) or 'none'}, the corpora count "
                f"{', '.join(labels)}; nothing was replaced"
            )


def _check_parity(gaps: dict[str, tuple[float, float]]) -> None:
    for name, (mean, worst) in gaps.items():
        print(f"parity {name}: mean {mean:.4f}, worst {worst:.4f}", flush=True)
    drift = max(gaps[task][0] for task in LABELS)
    if not drift <= _DRIFT:  # so that a graph which answers with NaN is stopped too
        raise SystemExit(f"quantisation moves probabilities by {drift:.3f} on average; nothing was replaced")


def _replace(folder: Path, made: Path) -> None:
    """Put `made` in the place of `folder`; a reader finds the old folder or the new one, for a moment none."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    made.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--refit", action="store_true", help="refit the urgency and intent heads on the frozen encoder")
    parser.add_argument(
        "--fine",
        type=int,
        default=8,
        help="first layers whose activations get a second int8 number: nearer to the float network, and slower",
    )
    args = parser.parse_args()
    export(args.checkpoint, args.out, args.data, refit=args.refit, fine=args.fine)


if __name__ == "__main__":
    main()
