"""A training run: what it silences and hides, how it goes on, and that its running mean is what it returns."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

MISSES = "misses the tests of training: torch or transformers is not installed (extra gpu)"
torch = pytest.importorskip("torch", reason=MISSES)
transformers = pytest.importorskip("transformers", reason=MISSES)

from nlp import manifest  # noqa: E402 - only where the extra is
from nlp.network import PREFIX, Network, prefix_of, save_checkpoint  # noqa: E402 - as above
from nlp.onnx_cpu import SHIPPED  # noqa: E402 - as above
from nlp.scorer import LABELS  # noqa: E402 - as above
from nlp.training import average, second_opinions, train  # noqa: E402 - as above
from nlp.training.batches import UNKNOWN, Batch, Item, batch_of, mixed  # noqa: E402 - as above
from nlp.training.corpora import Corpus, Example  # noqa: E402 - as above
from nlp.training.distil import check_same_prefix, check_same_words, variant  # noqa: E402 - as above
from nlp.training.run import Pace, Run, Steady, hidden, optimiser_of, quicken  # noqa: E402 - as above

pytestmark = pytest.mark.filterwarnings("default")


def tiny() -> Network:
    torch.manual_seed(4)
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        attn_implementation="eager",
    )
    return Network(config, LABELS)


def batches() -> Iterator[Batch]:
    chance = random.Random(6)
    while True:
        kinds = [chance.randrange(3) for _ in range(16)]
        yield batch_of([Item([0, 5, 6, 20 + kind, 30 + kind, 2], {"sentiment": kind}) for kind in kinds], "toy")


def loss_of(network: Network, batch: Batch) -> tuple[Any, dict[str, float]]:
    logits = network(batch.ids, batch.mask, ["sentiment"])[1]["sentiment"]
    loss = torch.nn.functional.cross_entropy(logits, batch.labels["sentiment"])
    return loss, {"sentiment": loss.item()}


def trained(pace: Pace) -> Run:
    run = Run(tiny(), pace)
    run.through(batches(), lambda batch: loss_of(run.network, batch))
    return run


def test_a_channel_is_silent_for_all_tokens_of_a_text_or_for_none() -> None:
    torch.manual_seed(1)
    dropped = Steady(0.5).train()(torch.ones(4, 6, 200))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert not torch.equal(dropped[0], dropped[1])
    assert Steady(0.5).eval()(torch.ones(2, 2, 2)).min() == 1.0


def test_no_dropout_of_the_plain_kind_is_left_in_the_layers() -> None:
    network = tiny().train()
    quicken(network, 0.1)
    plain = [module for module in network.modules() if isinstance(module, torch.nn.Dropout) and module.p > 0]
    assert plain == []
    ids, mask = torch.full((2, 8), 7), torch.ones(2, 8, dtype=torch.long)
    assert not torch.equal(*(network.pooled(ids, mask) for _ in range(2)))
    network.eval()
    assert torch.equal(*(network.pooled(ids, mask) for _ in range(2)))


def test_hidden_tokens_are_real_ones_behind_the_start() -> None:
    torch.manual_seed(2)
    ids, mask = torch.full((50, 20), 9), torch.ones(50, 20, dtype=torch.long)
    mask[:, 15:] = 0
    found = hidden(ids, mask, 0.3, 3)
    lost = found == UNKNOWN
    assert not lost[:, :3].any()
    assert not lost[:, 15:].any()
    assert 0.2 < lost[:, 3:15].float().mean() < 0.4
    assert (ids == 9).all()


def test_a_run_learns_and_its_running_mean_is_what_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlp.training.run.time.monotonic", itertools.count(step=0.01).__next__)  # 300 steps
    run = trained(Pace(tmp_path, 0.05, 5e-3))
    batch = next(batches())
    assert loss_of(run.network, batch)[0] < 0.3
    assert loss_of(tiny(), batch)[0] > 0.8
    assert all(torch.equal(value, run.mean[name]) for name, value in run.network.named_parameters() if name in run.mean)
    words = run.network.encoder.embeddings.word_embeddings.weight
    assert torch.equal(words, tiny().encoder.embeddings.word_embeddings.weight)


def test_a_machine_asleep_does_not_spend_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlp.training.run.time.monotonic", itertools.count(step=7200).__next__)
    assert trained(Pace(tmp_path, 1, 1e-3)).steps == 3


def test_layers_near_the_words_learn_slower() -> None:
    network = tiny()
    network.freeze_words()
    plain, layered = optimiser_of(network, 1e-3), optimiser_of(network, 1e-3, 0.5)
    assert {group["lr"] for group in plain.param_groups} == {1e-3, 1e-2}
    rates = {id(value): group["lr"] for group in layered.param_groups for value in group["params"]}
    layers = network.encoder.encoder.layer
    assert [rates[id(layer.output.dense.weight)] for layer in layers] == [
        pytest.approx(1e-3 * 0.5 ** (len(layers) - 1 - at)) for at in range(len(layers))
    ]
    assert rates[id(network.encoder.embeddings.LayerNorm.weight)] == pytest.approx(1e-3 * 0.5 ** len(layers))
    assert rates[id(next(network.heads.parameters()))] == pytest.approx(1e-2)
    for optimiser in (plain, layered):
        held = sum(value.numel() for group in optimiser.param_groups for value in group["params"])
        assert held == sum(value.numel() for value in network.parameters() if value.requires_grad)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    pace = Pace(tmp_path, 60, 1e-3)
    first = Run(tiny(), pace)
    for batch, _ in zip(batches(), range(3), strict=False):
        first._step(batch, lambda batch: loss_of(first.network, batch))
    first.elapsed = 1800.0
    first.save()
    second = Run(tiny(), pace)
    assert (second.steps, second.done) == (3, 0.5)
    for name, value in first.network.named_parameters():
        assert torch.equal(value, second.network.get_parameter(name)), name
    assert all(torch.equal(value, second.mean[name]) for name, value in first.mean.items())
    assert second.optimiser.state_dict()["state"].keys() == first.optimiser.state_dict()["state"].keys()


def test_a_part_of_a_text_is_one_piece_with_its_frame() -> None:
    chance = random.Random(3)
    item = Item([0, *range(100, 140), 2], {"sentiment": 1})
    for _ in range(50):
        part = variant(item, chance)
        inside = part.ids[1:-1]
        assert (part.ids[0], part.ids[-1], part.labels) == (0, 2, item.labels)
        assert inside == list(range(inside[0], inside[-1] + 1))
        assert 24 <= len(inside) <= 36
    short = Item([0, 7, 8, 2], {"sentiment": 1})
    assert variant(short, chance).ids == short.ids


def saved(folder: Path, network: Network, base: Path) -> Path:
    save_checkpoint(network, base, folder)
    return folder


def test_the_mean_of_checkpoints_lies_between_them(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny().encoder.config.save_pretrained(base)
    for name in ("tokenizer.json", "words.npz"):
        (base / name).touch()
    one, other = tiny(), tiny()
    with torch.no_grad():
        for value in other.parameters():
            value.add_(1.0)
    folders = [saved(tmp_path / "one", one, base), saved(tmp_path / "other", other, base)]
    mean = average.mean_of([(folders[0], 0.75), (folders[1], 0.25)])
    for name, value in one.named_parameters():
        assert torch.allclose(mean.get_parameter(name), value + 0.25, atol=1e-5), name
    with pytest.raises(ValueError, match="add up to 1"):
        average.mean_of([(folders[0], 0.75), (folders[1], 0.75)])
    config = one.encoder.config
    narrow = Network(transformers.BertConfig(**{**config.to_dict(), "intermediate_size": 32}), LABELS)
    narrow.encoder.config.save_pretrained(base)
    with pytest.raises(ValueError, match="another network"):
        average.mean_of([(folders[0], 0.5), (saved(tmp_path / "narrow", narrow, base), 0.5)])


def test_a_checkpoint_knows_its_prefix_and_one_without_word_of_it_is_older(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny().encoder.config.save_pretrained(base)
    for name in ("tokenizer.json", "words.npz"):
        (base / name).touch()
    new = saved(tmp_path / "new", tiny(), base)
    assert prefix_of(new) == PREFIX
    (new / "reading.json").unlink()
    assert prefix_of(new) == "query: "
    save_checkpoint(tiny(), base, new, "other: ")
    assert prefix_of(new) == "other: "


@pytest.mark.parametrize("prefix", ["query: ", PREFIX])
def test_a_teacher_that_reads_another_prefix_is_refused(tmp_path: Path, prefix: str) -> None:
    for name in ("model.onnx", "tokenizer.json"):
        shutil.copyfile(SHIPPED / name, tmp_path / name)
    manifest.write(tmp_path, manifest.read(SHIPPED).model_copy(update={"prefix": prefix}))
    if prefix == PREFIX:
        check_same_prefix(tmp_path)
    else:
        with pytest.raises(SystemExit, match="'query: '"):
            check_same_prefix(tmp_path)


def test_a_second_opinion_softens_a_label_and_no_opinion_leaves_it() -> None:
    opinions = torch.tensor([[0.1, 0.8, 0.1], [0.0, 0.0, 0.0]])
    wanted = train.blended(torch.tensor([2, 1]), opinions, trust=0.5)
    assert wanted[0].tolist() == pytest.approx([0.05, 0.4, 0.55])
    assert wanted[1].tolist() == [0.0, 1.0, 0.0]


def test_a_target_without_opinion_costs_what_its_label_does() -> None:
    torch.manual_seed(3)
    logits, labels, weights = torch.randn(9, 3), torch.arange(9) % 3, torch.tensor([0.4, 1.0, 3.0])
    plain = torch.nn.functional.cross_entropy(logits, labels, weight=weights, label_smoothing=train._SMOOTHING)
    assert train.label_loss(logits, labels, labels, weights) == pytest.approx(plain.item(), rel=1e-5)
    alone = train.blended(labels, torch.zeros(9, 3))
    assert train.label_loss(logits, labels, alone, weights) == pytest.approx(plain.item(), rel=1e-5)
    doubted = train.blended(labels, torch.full((9, 3), 1 / 3))
    assert train.label_loss(logits, labels, doubted, weights) != pytest.approx(plain.item(), rel=1e-2)


def test_an_opinion_reaches_the_loss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the file over the corpora, the tokens and the batch: each step that forgets it makes the losses equal."""
    network, encoder = tiny(), cast("Any", SimpleNamespace(readable=str, encode=lambda t: [[0, 5, 6, 7, 2]] * len(t)))
    losses = []
    for answers in (("positive", ""), ("", "")):
        opinion = second_opinions.Opinion("a.tsv", 1, sha256(b"text").hexdigest()[:16], answers)
        monkeypatch.setattr(second_opinions, "read", lambda opinion=opinion: [opinion])
        monkeypatch.setattr(
            train, "sentiment_corpora", lambda _: [Corpus("a", 1, [Example("text", {"sentiment": 0}, "en")])]
        )
        for name in ("own_corpora", "auxiliary_corpora", "real_corpora"):
            monkeypatch.setattr(train, name, lambda _: [])
        plan = train.Plan(tmp_path, tmp_path, tmp_path, "sentiment", 1, None, 1e-4, 0, 32, 80, 1, own_share=0.3)
        trainer = cast("Any", train.Trainer.__new__(train.Trainer))
        trainer.corpora = train.corpora_of(plan)
        trainer.run = SimpleNamespace(network=network)
        trainer._weights = {"a": {"sentiment": torch.ones(3)}}
        torch.manual_seed(5)
        losses.append(trainer.loss(next(mixed(trainer.corpora, encoder, 1, 1)))[1]["sentiment"])
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_a_student_of_other_words_is_refused(tmp_path: Path) -> None:
    for folder, words in (("old", b"a"), ("same", b"a"), ("other", b"b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tokenizer.json").write_text("{}", encoding="utf-8")
        (tmp_path / folder / "words.npz").write_bytes(words)
    check_same_words(tmp_path / "old", tmp_path / "same")
    with pytest.raises(SystemExit, match=r"its words\.npz is not that of"):
        check_same_words(tmp_path / "old", tmp_path / "other")


def test_our_own_mentions_have_the_share_that_the_plan_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    example = Example("text", {"sentiment": 0}, "en")

    def corpora(*names: str) -> list[Corpus]:
        return [Corpus(name, 0.6, [example]) for name in names]

    monkeypatch.setattr(train, "sentiment_corpora", lambda _: corpora("tweets-en", "semeval"))
    monkeypatch.setattr(train, "auxiliary_corpora", lambda _: corpora("crisis"))
    monkeypatch.setattr(train, "own_corpora", lambda _: corpora("own-en", "posts-en"))
    monkeypatch.setattr(train, "real_corpora", lambda _: corpora("real-en"))
    plan = train.Plan(tmp_path, tmp_path, tmp_path, "all", 1, None, 1e-4, 0, 32, 80, 1, own_share=0.3)
    shares = {corpus.name: corpus.share for corpus in train.corpora_of(plan)}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["own-en"] + shares["real-en"] == pytest.approx(0.3)
    assert shares["real-en"] == pytest.approx(train._REAL * shares["own-en"])
    assert shares["posts-en"] == pytest.approx(0.7 / 4)
