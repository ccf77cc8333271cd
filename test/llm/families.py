"""Tiny LLMs with random weights of many families, and what becomes of each: the table of the admission test."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

Settings = dict[str, Any]

BOTH = "both"  # admitted for causal and non-causal systems
TOKENS: Settings = {"vocab_size": 160, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
PLAIN: Settings = {
    **TOKENS,
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "max_position_embeddings": 64},
}
HEADS: Settings = {**PLAIN, "head_dim": 8}
GPT: Settings = {**TOKENS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
NEO: Settings = {**TOKENS, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 64}
WINDOW: Settings = {"sliding_window": 4}
SLIDING: Settings = {**HEADS, **WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS: Settings = {
    **{"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    **{"n_routed_experts": 4, "n_shared_experts": 1, "shared_expert_intermediate_size": 16, "n_group": 1},
    **{"topk_group": 1, "first_k_dense_replace": 1, "shared_intermediate_size": 16},
}
LATENT: Settings = {
    **{"num_key_value_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8},
    **{"v_head_dim": 8, "head_dim": 4},
}
DELTA: Settings = {
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    **{"linear_conv_kernel_dim": 2, "layer_types": ["linear_attention", "full_attention"]},
}
MAMBA: Settings = {
    **{"mamba_n_heads": 4, "mamba_d_state": 8, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_conv": 4},
    **{"mamba_expand": 2, "mamba_chunk_size": 8, "mamba_d_ssm": 64},
}
NEMOTRON_H: Settings = {
    **{"layers_block_type": ["mamba", "attention", "mlp"], "mamba_num_heads": 4, "mamba_head_dim": 16},
    **{"ssm_state_size": 8, "n_groups": 1, "chunk_size": 8},
}
ZAMBA: Settings = {
    **{"mamba_d_state": 8, "n_mamba_heads": 4, "mamba_headdim": 16, "mamba_ngroups": 1, "chunk_size": 8},
    **{"use_mamba_kernels": False, "layers_block_type": ["mamba", "hybrid"], "num_mem_blocks": 1},
}
JAMBA: Settings = {
    **{"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
    **{"mamba_d_state": 8, "mamba_dt_rank": 4, "use_mamba_kernels": False},
}
GEMMA_3N: Settings = {
    **{"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 160, "laurel_rank": 4},
    **{"num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.0, 0.0]},
}
GEMMA_4: Settings = {"num_kv_shared_layers": 0, "global_head_dim": 8, "vocab_size_per_layer_input": 160}
RECURRENT = r"a padded prefix must give the logits of an unpadded one, but they differ by [\d.]+, of logits up to"
NO_POSITIONS = "takes no position_ids; without them a padded utterance would differ"


class Family(NamedTuple):
    """A kind of LLM.

    Attributes:
        model_type: The name of transformers.
        settings: Of its tiny config.
        verdict: `both`, or what the refusal says; "causal: " and the reason, if it is admitted for causal systems.
        variant: What tells it from another row of its kind.
    """

    model_type: str
    settings: Settings
    verdict: str = BOTH
    variant: str = ""

    def config(self) -> Any:
        """Its transformers config; a family that the installed transformers lacks skips the test."""
        from transformers import AutoConfig
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

        if self.model_type not in CONFIG_MAPPING_NAMES:
            pytest.skip(f"the installed transformers has no {self.model_type}")
        return AutoConfig.for_model(self.model_type, **self.settings)

    def build(self) -> Any:
        """The LLM, with weights of a trained one's size: at birth, many a part of it does nothing."""
        from transformers import AutoModelForCausalLM

        from speechllama.llm.architecture import causal_lm_class
        from speechllama.llm.attention import choose_attention

        config = self.config()
        attention = choose_attention("auto", causal_lm_class(config, self.model_type))
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, 0.2) if weight.dim() > 1 else weight.add_(torch.randn_like(weight) * 0.1)
        return model


FAMILIES = (
    *(Family(name, PLAIN) for name in ("llama", "phi", "qwen2", "olmo", "olmo2", "cohere", "gpt_neox", "stablelm")),
    *(Family(name, PLAIN) for name in ("persimmon", "nemotron", "granite", "diffllama", "smollm3", "biogpt")),
    *(Family(name, HEADS) for name in ("qwen3", "gemma", "glm", "glm4", "arcee", "ernie4_5", "hunyuan_v1_dense")),
    *(Family(name, HEADS) for name in ("helium", "seed_oss", "apertus", "bitnet", "doge")),
    *(Family(name, GPT) for name in ("gpt2", "gpt_bigcode")),
    *(Family(name, {**GPT, "rotary_dim": 4}) for name in ("gptj", "codegen")),
    *(Family(name, {**HEADS, **EXPERTS}) for name in ("granitemoe", "qwen2_moe", "qwen3_moe", "olmoe", "glm4_moe")),
    *(Family(name, {**PLAIN, **EXPERTS, **WINDOW}) for name in ("mixtral", "phimoe")),
    *(Family(name, {**PLAIN, **EXPERTS, **LATENT}) for name in ("deepseek_v2", "deepseek_v3")),
    # Windows: one mask, or one for each kind of layer
    *(Family(name, {**HEADS, **WINDOW}) for name in ("mistral", "ministral3", "phi3", "starcoder2")),
    *(Family(name, SLIDING) for name in ("ministral", "olmo3", "cohere2", "exaone4")),
    *(Family(name, {**SLIDING, "query_pre_attn_scalar": 8}) for name in ("gemma2", "gemma3_text")),
    Family("gemma4_text", {**SLIDING, **GEMMA_4, "hidden_size_per_layer_input": 0}),
    Family("gpt_oss", {**SLIDING, **EXPERTS}),
    Family("qwen2", {**PLAIN, **WINDOW, "use_sliding_window": True, "max_window_layers": 1}, variant="window"),
    Family(
        "llama4_text",
        {
            **{**HEADS, **EXPERTS, "attention_chunk_size": 4, "intermediate_size_mlp": 48},
            "layer_types": ["chunked_attention", "full_attention"],
        },
    ),
    # No sdpa
    Family("xglm", {**TOKENS, "d_model": 32, "ffn_dim": 48, "attention_heads": 4, "num_layers": 2}),
    Family("opt", {**PLAIN, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    Family("falcon", {**TOKENS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": False}),
    Family(
        "falcon",
        {**TOKENS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": True},
        "logits from embeddings must be its own from token ids, but",
        "alibi",
    ),
    # A mask of its own on top of ours
    Family(
        "gpt_neo",
        {**NEO, "attention_types": [[["global"], 2]]},
        "causal: the prefix must see itself under prefix_mask: non_causal, and no text, but another vector at its "
        "position 2 changes the logits at position 0 by 0$",
        "global",
    ),
    Family(
        "gpt_neo",
        {**NEO, "attention_types": [[["global", "local"], 1]], "window_size": 16},
        r"a step with cached keys and values must give the logits of the full pass, but they differ by [\d.]+, of",
        "local",
    ),
    Family("bert", PLAIN, "logits from embeddings must be its own from token ids, but they differ by"),
    # Embeddings for each layer
    Family("gemma3n_text", {**SLIDING, **GEMMA_3N}, "logits from embeddings must be its own from token ids, but they"),
    Family(
        "gemma4_text",
        {**SLIDING, **GEMMA_4, "hidden_size_per_layer_input": 8},
        "vectors that are no token's must be read, but it cannot be computed: RuntimeError",
        "embeddings for each layer",
    ),
    # Recurrent layers
    Family("qwen3_next", {**HEADS, **EXPERTS, **DELTA}, RECURRENT),
    Family("qwen3_5_text", {**HEADS, **DELTA}, RECURRENT),
    Family("jamba", {**PLAIN, **EXPERTS, **JAMBA}, RECURRENT),
    Family(
        "granitemoehybrid",
        {**PLAIN, **EXPERTS, **MAMBA, "layer_types": ["mamba", "attention"]},
        RECURRENT,
    ),
    Family("bamba", {**PLAIN, **MAMBA, "attn_layer_indices": [1]}, RECURRENT),
    Family("falcon_h1", {**PLAIN, **MAMBA}, RECURRENT),
    Family("nemotron_h", {**HEADS, **NEMOTRON_H}, RECURRENT),
    Family("lfm2", {**PLAIN, "layer_types": ["conv", "full_attention"]}, RECURRENT),
    Family("zamba2", {**PLAIN, **ZAMBA}, RECURRENT),
    Family(
        "recurrent_gemma",
        {**HEADS, "lru_width": 32, "attention_window_size": 64, "block_types": ["recurrent", "attention"]},
        RECURRENT,
    ),
    Family("minimax", {**HEADS, **EXPERTS, "block_size": 4, "layer_types": DELTA["layer_types"]}, RECURRENT),
    # No positions
    Family("bloom", {**TOKENS, "n_layer": 2, "n_head": 4, "hidden_size": 32}, NO_POSITIONS),
    Family("mpt", {**TOKENS, "d_model": 32, "n_heads": 4, "n_layers": 2}, NO_POSITIONS),
    *(Family(name, PLAIN, NO_POSITIONS) for name in ("mamba", "falcon_mamba", "rwkv", "xlstm", "bart")),
    Family("mamba2", {**PLAIN, "num_heads": 4, "head_dim": 16, "n_groups": 1}, NO_POSITIONS),
    Family("t5", PLAIN, "t5 is no causal LM of the installed transformers"),
)


def find(model_type: str, variant: str = "") -> Family:
    """A row of the table."""
    return next(row for row in FAMILIES if (row.model_type, row.variant) == (model_type, variant))


VISION: Settings = {
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"image_size": 28, "patch_size": 14},
}
QWEN_VISION: Settings = {"hidden_size": 32, "intermediate_size": 48, "depth": 1, "num_heads": 2, "out_hidden_size": 32}
MULTIMODAL: dict[str, Settings] = {
    "gemma3": {
        "text_config": {**SLIDING, "query_pre_attn_scalar": 8},
        "vision_config": {**VISION, "vision_use_head": False},
        "mm_tokens_per_image": 4,
    },
    "gemma4": {
        "text_config": {**SLIDING, **GEMMA_4, "hidden_size_per_layer_input": 0},
        "vision_config": {**VISION, "num_key_value_heads": 2, "head_dim": 16},
        "audio_config": None,
    },
    "mistral3": {
        "text_config": {"model_type": "mistral", **HEADS},
        "vision_config": {"model_type": "pixtral", **VISION, "head_dim": 16},
    },
    "llava": {
        "text_config": {"model_type": "llama", **HEADS},
        "vision_config": {"model_type": "clip_vision_model", **VISION},
    },
    "paligemma": {
        "text_config": {"model_type": "gemma", **HEADS},
        "vision_config": {"model_type": "siglip_vision_model", **VISION},
    },
    "qwen3_5": {"text_config": {**HEADS, **DELTA}, "vision_config": QWEN_VISION},
    "qwen2_5_vl": {
        "text_config": {**HEADS, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
        "vision_config": QWEN_VISION,
    },
}


def multimodal(model_type: str) -> Any:
    """The config of a tiny multimodal model."""
    return Family(model_type, MULTIMODAL[model_type]).config()
