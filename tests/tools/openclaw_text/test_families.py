"""An upstream's name tells in which form its model has learned to call tools."""

import pytest

from tools.openclaw_text.families import FAMILIES, family_of

NAMES = {
    "hermes": ["NousResearch/Hermes-3-Llama-3.1-8B", "qwen2.5:7b-instruct", "Qwen/Qwen3-32B", "qwq-32b", "SmolLM3-3B"],
    "qwen_coder": ["Qwen/Qwen3-Coder-480B-A35B-Instruct", "qwen3-coder:30b", "qwen3.5-plus", "nvidia/Nemotron-3-Nano"],
    "llama": ["meta-llama/Llama-3.3-70B-Instruct", "@cf/meta/llama-3.1-8b-instruct", "llama3.2:3b", "ollama/llama3.1",
              "accounts/fireworks/models/llama-v3p1-8b-instruct", "Llama-4-Scout"],
    "mistral": ["mistral-small-latest", "open-mixtral-8x22b", "mistralai/Ministral-8B", "devstral:24b", "codestral"],
    "deepseek_v3": ["deepseek-ai/DeepSeek-V3", "deepseek-v3-0324", "DeepSeek-R1-0528", "deepseek-coder-v2"],
    "deepseek_v31": ["deepseek-ai/DeepSeek-V3.1", "deepseek-v3p1"],
    "deepseek": ["deepseek-chat", "deepseek-reasoner", "DeepSeek-V3.2-Exp", "deepseek-v4"],
    "glm": ["zai-org/GLM-4.6", "glm-4.5-air", "glm-5", "zai-glm-4-7", "glm-4.7-flash"],
    "kimi": ["moonshotai/Kimi-K2-Instruct", "kimi-k2-thinking"],
    "generic": ["gpt-4o", "gemma3:12b", "phi-4", "ollama/phi4", "", "llama-2-7b-chat", "deepseek-r1:7b",
                "glm-4-9b-chat", "DeepSeek-R1-Distill-Llama-8B", "chatglm3-6b"],
}  # fmt: skip


@pytest.mark.parametrize(("family", "model"), [(family, name) for family, names in NAMES.items() for name in names])
def test_a_models_name_tells_its_family(family: str, model: str) -> None:
    assert family_of(model).name == family


def test_every_family_is_told_from_some_name() -> None:
    assert set(NAMES) == set(FAMILIES)


def test_a_family_can_be_given_by_name() -> None:
    assert family_of("gpt-4o", "kimi").name == "kimi"
    assert family_of("kimi-k2", "").name == "kimi"


def test_an_unknown_family_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="mistral"):
        family_of("gpt-4o", "claude")
