"""Numbers with a unit, for the models of results: `clean: Share` says what number `clean` is."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Unit:
    """The unit of a number, as metadata of its type. A number without it is a count or a ratio."""

    name: str


PIXELS = "pixel units of images in [0,1]"

Share = Annotated[float, Unit("fraction from 0 to 1")]
"""Accuracies, rates, probabilities."""
ShareDifference = Annotated[float, Unit("difference of two fractions, from -1 to 1")]
PixelUnits = Annotated[float, Unit(PIXELS)]
"""Distances of images, and the radii of threat models."""
Pixels = Annotated[int, Unit("pixels")]
"""Sides of images."""
PixelValue = Annotated[float, Unit("pixel value in [0,1]")]
GreyLevels = Annotated[float, Unit("grey levels from 0 to 255")]
Images = Annotated[int, Unit("images")]
Pairs = Annotated[int, Unit("pairs of images")]
Samples = Annotated[int, Unit("samples")]
Classes = Annotated[int, Unit("classes")]
Components = Annotated[int, Unit("components")]
Epochs = Annotated[int, Unit("epochs")]
GradientSteps = Annotated[int, Unit("gradient steps")]
Bytes = Annotated[int, Unit("bytes")]
Flops = Annotated[float, Unit("floating-point operations")]
Nats = Annotated[float, Unit("nats")]
NoiseDeviations = Annotated[float, Unit("standard deviations of the noise in a coordinate")]
InputDeviations = Annotated[float, Unit("standard deviations of an input's coordinate")]
LearningRate = Annotated[float, Unit("weights' change for a unit of gradient")]
WeightDecay = Annotated[float, Unit("gradient for a unit of weight")]
