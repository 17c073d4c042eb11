"""Attention and transformer blocks: dense tokens and the voxels of one object are the same sequence."""

import math

import pytest
import torch
from torch import Tensor, nn

from backend.layers.attention import CrossAttention, SelfAttention
from backend.layers.transformer import FeedForward, ModulatedCrossBlock, TransformerBlock, run_block
from backend.layers.window_attention import cut_into_windows


def awake(module: nn.Module) -> nn.Module:
    """Every parameter random, so that nothing is hidden by a zero."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def cross_block(**options: bool) -> ModulatedCrossBlock:
    return awake(ModulatedCrossBlock(12, 10, 3, 2.0, **options))


@pytest.mark.parametrize("norms", [False, True])
def test_objects_of_a_batch_do_not_see_each_other(norms: bool) -> None:
    block = cross_block(qk_rms_norm=norms, qk_rms_norm_cross=norms)
    x, t_emb, cond = torch.randn(2, 7, 12), torch.randn(2, 12), torch.randn(2, 5, 10)
    together = block(x, t_emb, block.cross_attn.keys_values(cond))
    for n in range(2):
        one = slice(n, n + 1)
        alone = block(x[one], t_emb[one], block.cross_attn.keys_values(cond[one]))
        torch.testing.assert_close(together[one], alone, atol=1e-5, rtol=1e-5)


def test_one_condition_serves_a_whole_batch() -> None:
    block = cross_block()
    x, t_emb, cond = torch.randn(3, 7, 12), torch.randn(3, 12), torch.randn(1, 5, 10)
    shared = block(x, t_emb, block.cross_attn.keys_values(cond))
    repeated = block(x, t_emb, block.cross_attn.keys_values(cond.expand(3, -1, -1)))
    torch.testing.assert_close(shared, repeated)


def test_shared_modulation_is_handed_in() -> None:
    own, shared = cross_block(), cross_block(share_mod=True)
    shared.load_state_dict({k: v for k, v in own.state_dict().items() if not k.startswith("adaLN")})
    x, t_emb = torch.randn(1, 7, 12), torch.randn(1, 12)
    keys_values = own.cross_attn.keys_values(torch.randn(1, 5, 10))
    expected = own(x, t_emb, keys_values)
    torch.testing.assert_close(shared(x, own.adaLN_modulation(t_emb), keys_values), expected)


def test_modulation_is_shift_scale_gate_of_attention_then_of_the_feed_forward() -> None:
    block = cross_block(share_mod=True)
    nn.init.zeros_(block.cross_attn.to_out.weight)
    nn.init.zeros_(block.cross_attn.to_out.bias)
    x = torch.randn(1, 7, 12)
    keys_values = block.cross_attn.keys_values(torch.randn(1, 5, 10))
    zeros, shift, scale = torch.zeros(1, 12), torch.randn(1, 12), torch.randn(1, 12)
    half_gate = torch.full((1, 12), 0.5)
    attention_only = torch.cat([shift, scale, half_gate, shift, scale, zeros], 1)
    expected = x + 0.5 * block.self_attn(block.norm1(x) * (1 + scale) + shift)
    torch.testing.assert_close(block(x, attention_only, keys_values), expected)
    feed_forward_only = torch.cat([shift, scale, zeros, shift, scale, half_gate], 1)
    expected = x + 0.5 * block.mlp(block.norm3(x) * (1 + scale) + shift)
    torch.testing.assert_close(block(x, feed_forward_only, keys_values), expected)


def test_queries_keys_values_are_packed_outermost() -> None:
    attention = awake(SelfAttention(8, 2))
    x = torch.randn(1, 5, 8)
    q, k, v = attention.to_qkv(x)[0].view(5, 3, 2, 4).unbind(1)
    heads = []
    for head in range(2):
        weights = (q[:, head] @ k[:, head].T / math.sqrt(4)).softmax(-1)
        heads.append(weights @ v[:, head])
    torch.testing.assert_close(attention(x)[0], attention.to_out(torch.cat(heads, 1)))


def test_cross_attention_packs_keys_before_values() -> None:
    attention = awake(CrossAttention(8, 6, 2))
    x, cond = torch.randn(1, 5, 8), torch.randn(1, 3, 6)
    q = attention.to_q(x)[0].view(5, 2, 4)
    k, v = attention.to_kv(cond)[0].view(3, 2, 2, 4).unbind(1)
    heads = [(q[:, h] @ k[:, h].T / 2).softmax(-1) @ v[:, h] for h in range(2)]
    expected = attention.to_out(torch.cat(heads, 1))
    torch.testing.assert_close(attention(x, attention.keys_values(cond))[0], expected)


def test_one_window_over_everything_is_full_attention() -> None:
    block = awake(TransformerBlock(12, 3, 2.0, qk_rms_norm=True))
    coords = torch.cartesian_prod(*[torch.arange(3)] * 3)
    x = torch.randn(1, len(coords), 12)
    torch.testing.assert_close(block(x, cut_into_windows(coords, 8, 0)), block(x), atol=1e-5, rtol=1e-5)


def test_feed_forward_uses_the_tanh_gelu() -> None:
    layer = FeedForward(1, 1.0)
    with torch.no_grad():
        for linear in (layer.mlp[0], layer.mlp[2]):
            linear.weight.fill_(1.0)
            linear.bias.zero_()
        out = layer(torch.tensor([[2.0]])).item()
    assert out == pytest.approx(1 + math.tanh(math.sqrt(2 / math.pi) * (2 + 0.044715 * 8)), abs=1e-6)


def test_recomputing_activations_gives_the_same_gradients() -> None:
    block = cross_block().train()
    x, t_emb = torch.randn(1, 7, 12, requires_grad=True), torch.randn(1, 12)
    keys_values = block.cross_attn.keys_values(torch.randn(1, 5, 10))

    def gradient(recompute: bool) -> Tensor:
        loss = run_block(block, recompute, x, t_emb, keys_values).square().sum()
        return torch.autograd.grad(loss, x, retain_graph=True)[0]

    torch.testing.assert_close(gradient(True), gradient(False))
