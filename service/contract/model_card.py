"""What there is to tell about a served model: in /v1/models, in the metrics, between the processes."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ModelCard(BaseModel):
    """A served model."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    object: Literal["model"] = "model"
    owned_by: Literal["headfirst"] = "headfirst"
    created: int = Field(description="When the weights' file was written, in seconds since 1970.")
    name: str
    architecture: str
    vocabulary_size: int
    cutoffs: list[int] = Field(
        description="Ends of the head and of each tail cluster; the last is the vocabulary."
    )
    clusters: int = Field(description="Tail clusters.")
    parameters: int
    dtype: str
    device: str
    kernels: dict[str, str] = Field(description="What runs the body and the softmax, as measured at load.")
    digest: str | None = Field(None, description="Of the bundle's files: another one after a reload is new.")


MODEL_LABELS = ("model", "architecture", "vocabulary_size", "clusters", "parameters", "dtype", "device")
"""The labels of `headfirst_model_info`."""


def model_labels(card: ModelCard) -> list[str]:
    """The values of `MODEL_LABELS` for a model."""
    return [
        card.name,
        card.architecture,
        str(card.vocabulary_size),
        str(card.clusters),
        str(card.parameters),
        card.dtype,
        card.device,
    ]
