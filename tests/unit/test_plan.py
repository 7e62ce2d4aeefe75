"""Plans: matrices fan out along references, and a key says all that determines a result."""

import json
from pathlib import Path
from typing import Any

import pytest

from robxfer_core.jobs.train import Train
from robxfer_core.planning.cost import Throughput, estimate
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import Node, Plan, make_plan
from robxfer_core.planning.power import detectable_effects
from robxfer_core.spec import yaml
from robxfer_core.spec.base import canonical, digest
from robxfer_core.spec.datasets import BUILTIN
from robxfer_core.spec.errors import SpecError

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICKSTART = (EXAMPLES / "quickstart.yaml").read_bytes()


def plan(spec: dict[str, Any]) -> Plan:
    return make_plan(read_spec(json.dumps(spec).encode(), "json"), dict(BUILTIN))


def named(plan: Plan) -> dict[str, Node]:
    return {node.name: node for node in plan.nodes}


JOBS: dict[str, Any] = {
    "digits": {"kind": "dataset", "name": "digits", "size": 16},
    "source": {
        "kind": "train",
        "dataset": "digits",
        "arch": {"name": "cnn"},
        "matrix": {"threat.eps": [0.0, 0.5], "seed": [0, 1, 2]},
    },
    "generator": {
        "kind": "train",
        "dataset": "digits",
        "arch": {"name": "cnn", "width": 2.0},
        "matrix": {"seed": [0, 1, 2]},
    },
    "moved": {
        "kind": "perturb_dataset",
        "dataset": "digits",
        "generator": "generator",
        "threat": {"eps": 1.0},
        "seed": "$seed",
    },
    "features": {"kind": "features", "model": "source", "dataset": "moved"},
    "heads": {"kind": "transfer", "features": "features", "seed": "$seed"},
}


def test_a_reference_fans_out_and_shared_axes_are_joined():
    nodes = named(plan({"name": "x", "jobs": JOBS}))
    assert len(nodes) == 1 + 6 + 3 + 3 + 6 + 6
    feature = nodes["features[eps=0.5,seed=2]"]
    assert {ref.node for ref in feature.inputs} == {"source[eps=0.5,seed=2]", "moved[seed=2]"}
    assert nodes["heads[eps=0.5,seed=2]"].params["seed"] == 2
    assert nodes["moved[seed=1]"].params["generator"] == nodes["generator[seed=1]"].key


def test_a_pinned_reference_does_not_fan_out_on_that_axis():
    jobs = {**JOBS, "tuned": {"kind": "train", "dataset": "digits", "arch": {"name": "cnn"}, "init": "source[eps=0]"}}
    nodes = named(plan({"name": "x", "jobs": jobs}))
    assert [ref.node for ref in nodes["tuned[seed=1]"].inputs if ref.field == "init"] == ["source[eps=0,seed=1]"]
    jobs["tuned"]["init"] = "source[eps=0.75]"
    with pytest.raises(SpecError, match="axes of source"):
        plan({"name": "x", "jobs": jobs})


def test_inputs_come_before_what_takes_them():
    seen: set[str] = set()
    for node in make_plan(read_spec(QUICKSTART), dict(BUILTIN)).nodes:
        assert {ref.node for ref in node.inputs} <= seen
        seen.add(node.name)


def test_a_report_gathers_every_member():
    report = make_plan(read_spec(QUICKSTART), dict(BUILTIN)).nodes[-1]
    assert report.kind == "transfer_gap_report"
    fields = {ref.field for ref in report.inputs}
    assert {"sources", "arms.0.transfers", "arms.1.transfers", "arms.1.data"} <= fields
    assert len(report.params["sources"]) == 20
    assert len(report.params["arms"][0]["transfers"]) == 25
    assert report.params["sources"] == sorted(report.params["sources"])


def test_a_key_holds_what_determines_a_result_and_nothing_else():
    base = named(plan({"name": "x", "jobs": JOBS}))["source[eps=0.5,seed=1]"]
    renamed = {("other" if name == "source" else name): job for name, job in JOBS.items()}
    renamed["features"] = {**JOBS["features"], "model": "other"}
    renamed["other"] = {**JOBS["source"], "run": {"priority": 7, "queue": "gpu", "retries": 0, "deadline_s": 60}}
    same = named(plan({"name": "y", "labels": {"a": "b"}, "run": {"priority": 3}, "jobs": renamed}))
    assert same["other[eps=0.5,seed=1]"].key == base.key
    for change in ({"epochs": 31}, {"precision": "bf16"}, {"batch_size": 64}, {"attack": {"steps": 8}}):
        changed = {**JOBS, "source": {**JOBS["source"], **change}}
        assert named(plan({"name": "x", "jobs": changed}))["source[eps=0.5,seed=1]"].key != base.key
    other_data = {**JOBS, "digits": {**JOBS["digits"], "size": 20}}
    assert named(plan({"name": "x", "jobs": other_data}))["source[eps=0.5,seed=1]"].key != base.key


def test_gpus_are_for_trainings_and_not_in_the_key() -> None:
    made = named(plan({"name": "x", "run": {"queue": "gpu", "gpus": 2}, "jobs": JOBS}))
    one = named(plan({"name": "x", "jobs": JOBS}))
    assert {name: node.key for name, node in made.items()} == {name: node.key for name, node in one.items()}
    waits = {(node.kind, node.running.full_queue, node.running.gpus) for node in made.values()}
    assert {each for each in waits if each[0] in ("dataset", "train")} == {("dataset", "gpu", 1), ("train", "gpu2", 2)}
    many = {**JOBS, "digits": {**JOBS["digits"], "run": {"gpus": 2}}}
    with pytest.raises(SpecError, match=r"jobs\.digits\.run\.gpus: got 2; takes 1; only `train`"):
        plan({"name": "x", "jobs": many})
    refused = {"gpu2": "gpu2 is queue gpu with gpus set", "lab12": "takes a queue that does not end in a digit"}
    queues = [({"queue": queue}, message) for queue, message in refused.items()]
    for run, message in (({"gpus": 9}, "run.gpus: got 9"), *queues):
        with pytest.raises(SpecError, match=message):
            plan({"name": "x", "run": run, "jobs": JOBS})


def test_a_default_written_out_is_the_same_key():
    written = {**JOBS, "source": {**JOBS["source"], **Train(dataset="d", arch={"name": "cnn"}).params()}}  # pyright: ignore
    written["source"] |= {"dataset": "digits", "matrix": JOBS["source"]["matrix"]}
    assert [n.key for n in plan({"name": "x", "jobs": written}).nodes] == [
        n.key for n in plan({"name": "x", "jobs": JOBS}).nodes
    ]


def test_a_raised_recipe_is_another_key(monkeypatch: pytest.MonkeyPatch):
    before = [node.key for node in plan({"name": "x", "jobs": JOBS}).nodes]
    monkeypatch.setattr(Train, "RECIPE", Train.RECIPE + 1)
    after = [node.key for node in plan({"name": "x", "jobs": JOBS}).nodes]
    assert before[0] == after[0]
    assert not set(before[1:]) & set(after[1:])


def test_equal_jobs_under_two_names_are_one_key():
    nodes = named(plan({"name": "x", "jobs": {**JOBS, "twin": JOBS["digits"]}}))
    assert nodes["twin"].key == nodes["digits"].key


def test_a_study_that_grows_keeps_the_keys_of_its_sources():
    spec = yaml.load(QUICKSTART)
    before = {node.key for node in plan(spec).nodes}
    spec["studies"]["digits"]["seeds"].append(5)
    spec["studies"]["digits"]["heads"]["epochs"] += 1
    after = [node for node in plan(spec).nodes if node.key not in before and "transfer" not in node.name]
    assert {node.kind for node in after if "seed=5" not in node.name} == {"transfer_gap_report"}


def test_canonical_json_is_rfc_8785():
    assert (
        canonical({"b": 1.0, "a": [1e21, "\u20ac", None]})
        == '{"a":[1e+21,null],"b":1}'.replace("null]", '"€",null]').encode()
    )
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1.0})


def test_a_cost_counts_each_job_once_and_only_what_is_not_done():
    made = plan({"name": "x", "jobs": {**JOBS, "twin": JOBS["digits"]}})
    whole = estimate(made, set(), {}, slots=2)
    assert whole.jobs == len({node.key for node in made.nodes})
    assert whole.seconds == pytest.approx(2 * whole.wall_seconds, rel=0.5)
    trained = {node.key for node in made.nodes if node.kind == "train"}
    rest = estimate(made, trained, {}, slots=2)
    assert rest.done == 9
    assert rest.flops == pytest.approx(sum(n.flops for n in made.nodes if n.kind != "train" and n.name != "twin"))
    assert estimate(made, {n.key for n in made.nodes}, {}, slots=2).seconds == 0


def test_a_cost_goes_by_what_was_measured():
    made = plan({"name": "x", "jobs": JOBS})
    work = sum(node.flops for node in made.nodes if node.kind == "train")
    measured = {("train", "cpu"): Throughput(flops=work, seconds=60.0, jobs=9)}
    cost = estimate(made, {n.key for n in made.nodes if n.kind != "train"}, measured, slots=1)
    assert cost.seconds == pytest.approx(60.0)
    assert "measured on 9 past jobs: train" in cost.basis


def test_a_study_pairs_everything_of_a_seed():
    """Source or random network, generator, perturbation, control and head behind one curve are of one seed."""
    nodes = {node.key: node for node in make_plan(read_spec(QUICKSTART), dict(BUILTIN)).nodes}

    def seeds_behind(node: Node) -> set[int]:
        own = {node.params["seed"]} if node.kind not in ("dataset", "features") else set[int]()
        return own.union(*(seeds_behind(nodes[ref.key]) for ref in node.inputs))

    transfers = [node for node in nodes.values() if node.kind == "transfer"]
    assert len(transfers) == 5 * 5 * (4 + 1)  # variants, seeds, levels and the random network
    for transfer in transfers:
        assert seeds_behind(transfer) == {transfer.params["seed"]}, transfer.name
        models = {each.key for ref in transfer.inputs for each in nodes[ref.key].inputs if each.field == "model"}
        assert len(models) == 1, transfer.name  # of the features, and of the clean ones beside


def test_a_generator_may_start_from_the_familys_standard_model_of_its_seed():
    spec = yaml.load(QUICKSTART)
    study = spec["studies"]["digits"]
    study["generator"] |= {"start": "source", "training": study["source"]["training"]}
    study["targets"][0]["dataset"]["classes"] = [5, 6, 7]
    nodes = named(plan(spec))
    for job in ("generator", "generator-robust"):
        generators = {name: node for name, node in nodes.items() if name.startswith(f"digits.digits-5-9.{job}[")}
        assert sorted(generators) == [f"digits.digits-5-9.{job}[seed={seed}]" for seed in range(5)]
        for seed in range(5):
            node = generators[f"digits.digits-5-9.{job}[seed={seed}]"]
            assert node.params["init"] == nodes[f"digits.source[eps=0,seed={seed}]"].key
            assert node.params["seed"] == seed
    assert nodes["digits.digits-5-9.generator[seed=0]"].params["threat"]["eps"] == 0
    assert nodes["digits.digits-5-9.generator-robust[seed=0]"].params["threat"]["eps"] == 1
    study["generator"]["training"] = {**study["source"]["training"], "arch": {"name": "cnn", "width": 2.0}}
    with pytest.raises(SpecError, match=r"studies.digits.generator.training.init: got cnn of width 0.75"):
        plan(spec)


def test_a_cost_tells_gpu_hours_and_bytes():
    digits = {"kind": "dataset", "name": "digits", "size": 16}
    net = {"arch": {"name": "resnet18", "input_size": 224}, "epochs": 1}
    train = {"kind": "train", "dataset": "digits", **net, "run": {"queue": "gpu", "gpus": 2}}
    made = plan({"name": "x", "jobs": {"digits": digits, "net": train}})
    cost = estimate(made, set(), {}, slots=1)
    seconds = next(n.flops for n in made.nodes if n.kind == "train") / (2 * 5e12) + 0.1
    assert cost.gpu_seconds == pytest.approx(2 * seconds)
    images, weights = (1348 + 449) * (16 * 16 + 8), 11_170_000 * 4
    assert cost.bytes == pytest.approx(images + weights, rel=0.01)
    done = estimate(made, {n.key for n in made.nodes}, {}, slots=1)
    assert (done.gpu_seconds, done.bytes) == (0, 0)


@pytest.mark.parametrize("side", [16, 8])
def test_nothing_is_resampled_after_an_embedding(side: int):
    jobs = {
        "digits": {"kind": "dataset", "name": "digits", "size": 16},
        "stego": {"kind": "embed_stego", "dataset": "digits"},
        "net": {"kind": "train", "dataset": "digits", "arch": {"name": "cnn", "input_size": side}},
        "seen": {"kind": "features", "model": "net", "dataset": "stego"},
    }
    spec = {"name": "x", "jobs": jobs}
    if side == 16:
        assert "seen" in named(plan(spec))
        return
    with pytest.raises(SpecError) as told:
        plan(spec)
    assert told.value.problems[0].at == "jobs.seen.model"
    assert "8x8 pixels, for images of 16x16" in told.value.problems[0].got


@pytest.mark.parametrize(
    ("toy", "seeds", "levels", "targets"),
    [("source_modification", 2, 4, 1), ("steganalysis", 2, 2, 1), ("which_eps", 3, 3, 2)],
)
def test_a_plan_says_what_a_study_could_detect(toy: str, seeds: int, levels: int, targets: int):
    made = make_plan(read_spec((EXAMPLES / f"toy/{toy}.yaml").read_bytes()), dict(BUILTIN))
    (found,) = detectable_effects(made).values()
    assert (found["seeds"], found["levels"], found["targets"]) == (seeds, levels, targets)
    assert 0 < found["effect"] < 1


def test_bytes_are_those_of_the_pixels_that_a_set_holds():
    digits = {"kind": "dataset", "name": "digits", "size": 16}
    net = {"kind": "train", "dataset": "digits", "arch": {"name": "cnn"}, "epochs": 1}
    moved = {"kind": "perturb_dataset", "dataset": "digits", "generator": "net", "threat": {"eps": 1.0}}
    jobs = {
        "digits": digits,
        "net": net,
        "moved": moved,
        "rounded": {**moved, "store": "uint8"},
        "stego": {"kind": "embed_stego", "dataset": "digits"},
        "plain": {"kind": "export_dataset", "dataset": "digits", "format": "npz"},
        "exact": {"kind": "export_dataset", "dataset": "moved", "format": "npz"},
        "shown": {"kind": "export_dataset", "dataset": "moved", "format": "folder"},
    }
    held = {node.name: node.bytes / (1348 + 449) for node in plan({"name": "x", "jobs": jobs}).nodes}
    pixels = {"digits": 1, "moved": 2, "rounded": 1, "stego": 2 * 1, "plain": 1, "exact": 2, "shown": 3}
    for name, each in pixels.items():
        assert held[name] == pytest.approx(each * 16 * 16, rel=0.2), name
