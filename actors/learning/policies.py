"""The catalogue of policies: what can be trained here, and with which arguments. Imports nothing heavy.

Names and arguments are those of ``physicalai.policies`` (physicalai-train 0.3.0); the defaults for ``act`` are ours,
small enough for two CPU cores, where the library's are those of a GPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domain.errors import Invalid

ChunkSize = Annotated[int, Field(ge=1, le=1000, description="Actions predicted at once.")]
LearningRate = Annotated[float, Field(gt=0, le=1, description="Learning rate.")]
LoraRank = Annotated[int, Field(ge=1, le=512, description="Rank of the low-rank adapters.")]
Pixels = Annotated[int, Field(ge=32, le=1024)]


class _Args(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Chunked(_Args):
    """What all policies that predict chunks share: ``n_action_steps`` of a chunk are carried out, None means all."""

    chunk_size: ChunkSize = 50
    n_action_steps: Annotated[int, Field(ge=1, le=1000)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> "_Chunked":
        if (self.n_action_steps or 0) > self.chunk_size:
            raise ValueError("n_action_steps is larger than chunk_size")
        return self


class _ActArgs(_Chunked):
    chunk_size: ChunkSize = 20
    image_size: tuple[Pixels, Pixels] | None = Field(
        None, description="Height and width the pictures are fitted into; None: the camera's own, at most 224 a side."
    )
    vision_backbone: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"
    dim_model: int = Field(128, ge=16, le=2048)
    n_heads: int = Field(4, ge=1, le=64)
    dim_feedforward: int = Field(512, ge=16, le=8192)
    n_encoder_layers: int = Field(2, ge=1, le=16)
    n_decoder_layers: int = Field(1, ge=1, le=16)
    use_vae: bool = True
    latent_dim: int = Field(32, ge=1, le=512)
    n_vae_encoder_layers: int = Field(2, ge=1, le=16)
    dropout: float = Field(0.1, ge=0, lt=1)
    kl_weight: float = Field(10.0, ge=0)
    optimizer_lr: LearningRate = 1e-4
    optimizer_lr_backbone: LearningRate = 1e-4
    optimizer_weight_decay: float = Field(1e-4, ge=0)

    @model_validator(mode="after")
    def _divides(self) -> "_ActArgs":
        if self.dim_model % self.n_heads:
            raise ValueError("dim_model is not a multiple of n_heads")
        return self


class _SmolVlaArgs(_Chunked):
    pretrained_name_or_path: str | None = "lerobot/smolvla_base"
    num_vlm_layers: int = Field(16, ge=1, le=64)
    num_steps: int = Field(10, ge=1, le=100)
    freeze_vision_encoder: bool = True
    train_expert_only: bool = True
    optimizer_lr: LearningRate = 1e-4


class _Pi05Args(_Chunked):
    pretrained_name_or_path: str | None = "lerobot/pi05_base"
    num_inference_steps: int = Field(10, ge=1, le=100)
    freeze_vision_encoder: bool = False
    train_expert_only: bool = False
    gradient_checkpointing: bool = True
    lora_enabled: bool = False
    lora_rank: LoraRank = 32
    optimizer_lr: LearningRate = 2.5e-5


class _Xr0Args(_Chunked):
    chunk_size: ChunkSize = 30
    pretrained_name_or_path: str | None = None
    vlm_model_id: str = "Qwen/Qwen3-VL-4B-Instruct"
    vlm_attn_implementation: Literal["eager", "sdpa", "flash_attention_2"] = "sdpa"
    num_inference_steps: int = Field(5, ge=1, le=100)
    optimizer_lr: LearningRate = 1e-4


class _Rldx1Args(_Args):
    pretrained_name_or_path: str = "RLWRLD/RLDX-1-PT"
    n_action_steps: int = Field(16, ge=1, le=1000)
    tune_visual: bool = True
    tune_llm: bool = False
    learning_rate: LearningRate = 1e-4


class _MolmoAct2Args(_Chunked):
    chunk_size: ChunkSize = 30
    pretrained_name_or_path: str = "allenai/MolmoAct2"
    train_action_head_only: bool = False
    lora_enabled: bool = False
    lora_rank: LoraRank = 64
    optimizer_lr: LearningRate = 5e-5


class _Cosmos3Args(_Chunked):
    chunk_size: ChunkSize = 32
    pretrained_model_name_or_path: str = "nvidia/Cosmos3-Edge"
    embodiment: str = Field(min_length=1, description="One of the model's embodiments.")
    mode: Literal["peft", "full"] = "peft"
    lora_rank: LoraRank = 32
    optimizer_lr: LearningRate = 1e-4


@dataclass(frozen=True, slots=True)
class Policy:
    """One entry of the catalogue. ``offline``: trains with no download; else ``weights`` names what must be in the
    Hugging Face cache of the training machine, because training itself never goes to the hub."""

    name: str
    title: str
    args: type[_Args]
    weights: str | None = None

    @property
    def offline(self) -> bool:
        return self.weights is None

    def describe(self) -> dict[str, Any]:
        """The entry as ``GET /api/policies`` shows it; ``args_schema`` is the JSON Schema of ``policy_args``."""
        return {
            "name": self.name,
            "title": self.title,
            "offline": self.offline,
            "weights": self.weights,
            "args_schema": self.args.model_json_schema(),
        }


_POLICIES = {
    policy.name: policy
    for policy in (
        Policy("act", "ACT: Action Chunking Transformer", _ActArgs),
        Policy("smolvla", "SmolVLA: small vision-language-action model", _SmolVlaArgs, "lerobot/smolvla_base"),
        Policy("pi05", "π0.5: vision-language-action flow model", _Pi05Args, "lerobot/pi05_base"),
        Policy("xr0", "XR-0: diffusion transformer on Qwen3-VL", _Xr0Args, "Qwen/Qwen3-VL-4B-Instruct"),
        Policy("rldx1", "RLDX-1: vision-language-action model with memory", _Rldx1Args, "RLWRLD/RLDX-1-PT"),
        Policy("molmoact2", "MolmoAct 2: action reasoning model", _MolmoAct2Args, "allenai/MolmoAct2"),
        Policy("cosmos3", "Cosmos 3: world-model policy", _Cosmos3Args, "nvidia/Cosmos3-Edge"),
    )
}


def catalogue() -> list[dict[str, Any]]:
    """All policies as ``GET /api/policies`` lists them."""
    return [policy.describe() for policy in _POLICIES.values()]


def known(name: str) -> bool:
    """Whether ``name`` is a policy of the catalogue."""
    return name in _POLICIES


def validate(name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Check ``policy_args`` at submit and fill in the defaults (JSON values only).

    Raises Invalid for an unknown policy (``unknown_policy``) or wrong arguments (``invalid_policy_args``, with
    ``errors`` a list of {loc, message, type}).
    """
    if name not in _POLICIES:
        raise Invalid(f"There is no policy {name!r}; choose one of {', '.join(_POLICIES)}.", code="unknown_policy")
    try:
        return _POLICIES[name].args.model_validate(dict(args)).model_dump(mode="json")
    except ValidationError as error:
        raise _invalid_args(name, error) from None


def _invalid_args(name: str, error: ValidationError) -> Invalid:
    errors = [
        {"loc": ".".join(["policy_args", *map(str, each["loc"])]), "message": each["msg"], "type": each["type"]}
        for each in error.errors()
    ]
    said = "; ".join(f"{each['loc']}: {each['message']}" for each in errors)
    return Invalid(f"These arguments do not fit the policy {name}: {said}", code="invalid_policy_args", errors=errors)
