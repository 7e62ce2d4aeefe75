"""Every parameter of every kind and study says what it means, in which unit, and where it is from."""

from pydantic import BaseModel

from robxfer_core.jobs.perturb_dataset import PerturbDataset
from robxfer_core.jobs.registry import KINDS
from robxfer_core.jobs.simulate import Simulate
from robxfer_core.jobs.train import Train
from robxfer_core.spec.describe import OWN_UNITS, PIXELS, UNITS, parameters, parts, source
from robxfer_core.studies import STUDIES


def every() -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {**KINDS, **{name: model for name, (model, _) in STUDIES.items()}}
    for model in list(found.values()):
        found |= parts(model)
    return found


def test_every_parameter_has_a_meaning() -> None:
    lacking = [
        f"{name}.{each.name}" for name, model in every().items() for each in parameters(model) if not each.meaning
    ]
    assert lacking == []


def test_a_unit_is_that_of_a_parameter_that_is_there() -> None:
    numbers = {each.name for model in every().values() for each in parameters(model) if each.unit}
    assert UNITS.keys() - numbers == set()
    own = {(name, each.name) for name, model in every().items() for each in parameters(model) if each.unit}
    assert OWN_UNITS.keys() - own == set()


def test_eps_is_in_pixels_but_where_there_are_no_images() -> None:
    told = {name: each.unit for name, model in every().items() for each in parameters(model) if each.name == "eps"}
    simulated = {name: told.pop(name) for name in parts(Simulate) if name in told}
    assert simulated.keys() == {"Linear", "Multiclass"}
    assert all("standard deviation" in unit for unit in simulated.values())
    assert set(told.values()) == {PIXELS}


def test_what_a_parameter_says_of_itself() -> None:
    attack = {each.name: each for each in parameters(parts(PerturbDataset)["Attack"])}
    assert attack["step_size"].unit == "pixel units of images in [0,1]"
    assert attack["step_size"].source == "Madry et al. 2018"
    assert (attack["random_start"].unit, attack["random_start"].default) == ("", True)
    train = {each.name: each for each in parameters(Train)}
    assert (train["dataset"].required, train["dataset"].default) == (True, None)
    assert train["epochs"].unit == "epochs"
    assert source("x0.1 every third (Salman et al. 2020, appendix)") == "Salman et al. 2020, appendix"
    assert source("as it likes") == ""
