"""The optional engines compute what torch's own does, and are never taken where they cannot run."""

import importlib
import io
import shutil
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from backend.errors import UserError
from backend.layers.engines import COMPILERS, TORCH, Engine, choose_engine
from backend.layers.neighbours import find_neighbours
from backend.layers.submanifold import subdivided_conv, submanifold_conv
from backend.layers.window_attention import attend_within, cut_into_windows, sort_by_window
from backend.models.structured_latent_flow import SLatFlowModel
from backend.models.structured_latent_mesh_decoder import SLatMeshDecoder
from backend.selftest import main as selftest
from backend.trellis.engine import TrellisEngine
from blender_trellis.batch.progress_bar import ProgressBar
from blender_trellis.protocol import Array, Generate, SamplingParams

SPCONV, XFORMERS = "backend.layers.spconv_engine", "backend.layers.xformers_engine"
CARD = torch.device("cuda")
FLOW = {
    **{"resolution": 16, "in_channels": 4, "model_channels": 64, "cond_channels": 32, "out_channels": 4},
    **{"num_blocks": 1, "num_heads": 4, "patch_size": 2, "io_block_channels": [32], "pe_mode": "ape"},
}
MESH = {
    **{"resolution": 16, "model_channels": 256, "latent_channels": 4, "num_blocks": 2, "num_heads": 4},
    **{"window_size": 8, "representation_config": {"use_color": True}},
}


def some_voxels(count: int, resolution: int = 16) -> torch.Tensor:
    rows = torch.randperm(resolution**3)[:count]
    return torch.stack([rows // resolution**2, rows // resolution % resolution, rows % resolution], dim=1)


def some_weights(in_channels: int, out_channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    weight = torch.randn(out_channels, 3, 3, 3, in_channels) * (27 * in_channels) ** -0.5
    return weight, torch.randn(out_channels)


def gradients(convolve, upstream, *inputs):
    leaves = [one.clone().requires_grad_() for one in inputs]
    return torch.autograd.grad((convolve(*leaves) * upstream).sum(), leaves)


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


@pytest.fixture
def nothing_installed(monkeypatch):
    for module in (SPCONV, XFORMERS):
        monkeypatch.setitem(sys.modules, module, None)


def test_the_engine_is_chosen_by_name():
    assert choose_engine("torch", CARD) is choose_engine("torch", torch.device("cpu")) is TORCH
    with pytest.raises(UserError, match="no engine magic: choose torch, compile or cuda"):
        choose_engine("magic", CARD)
    with pytest.raises(UserError, match="NVIDIA card, not cpu: choose the engine torch"):
        choose_engine("cuda", torch.device("cpu"))


def test_compiling_without_a_compiler_is_one_sentence(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match="needs a C.. compiler, which is not found: install it or choose"):
        choose_engine("compile", torch.device("cpu"))


def test_compiled_blocks_give_the_same_numbers(monkeypatch, tmp_path):
    """Within the rounding of fp32; names of the weights stay as they were."""
    if not any(map(shutil.which, COMPILERS)):
        pytest.skip("needs a C++ compiler")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    network, coords = random_network(SLatFlowModel, FLOW), some_voxels(40)
    names = list(network.state_dict())
    with torch.inference_mode():
        (plain,) = outputs(network, coords, TORCH)
        (compiled,) = outputs(network, coords, choose_engine("compile", torch.device("cpu")))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert (compiled - plain).abs().max() <= 2e-6 * plain.abs().max()
    assert list(network.state_dict()) == names


def test_missing_packages_are_named_with_the_remedy(nothing_installed):
    with pytest.raises(UserError, match="spconv-cu124 or xformers.*install .*cuda.txt or choose"):
        choose_engine("cuda", CARD)


def test_whichever_package_is_installed_is_used(nothing_installed, monkeypatch):
    monkeypatch.setitem(sys.modules, SPCONV, SimpleNamespace(SpconvTable=SimpleNamespace))
    engine = choose_engine("cuda", CARD)
    assert (engine.neighbours, engine.windows) == (SimpleNamespace, cut_into_windows)


def test_the_commands_refuse_an_engine_that_cannot_run(capsys):
    assert selftest(["--engine", "cuda", "--device", "cpu"]) == 2
    assert "NVIDIA card" in capsys.readouterr().err
    with pytest.raises(UserError, match="NVIDIA card"):
        TrellisEngine().load("starter", "cpu", "auto", "cuda")


def outputs(network, coords, engine: Engine) -> list[torch.Tensor]:
    structure = network.use_engine(engine).structure(coords)
    torch.manual_seed(1)
    if isinstance(network, SLatMeshDecoder):
        return [network(torch.randn(len(coords), 4), structure)[1]]
    context = network.context(torch.randn(1, 5, 32))
    return [network(torch.randn(len(coords), 4), torch.tensor([300.0]), context, structure)]


def random_network(kind: type, args: dict) -> torch.nn.Module:
    """Without the zeros that a network begins with, which would hide a wrong convolution."""
    network = kind.from_args(args).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return network


@pytest.mark.parametrize(("kind", "args"), [(SLatFlowModel, FLOW), (SLatMeshDecoder, MESH)])
def test_a_network_takes_all_tables_from_its_engine(kind, args):
    class Doubled(type(find_neighbours(some_voxels(2)))):
        def convolve(self, feats, weight, bias):
            return 2 * super().convolve(feats, weight, bias)

    def doubled(coords):
        return Doubled(**vars(find_neighbours(coords)))

    network, coords = random_network(kind, args), some_voxels(40)
    with torch.inference_mode():
        plain, other = outputs(network, coords, TORCH), outputs(network, coords, Engine("twice", doubled))
    # The mesh decoder's own table only subdivides: its children are torch's.
    assert torch.equal(plain[0], other[0]) == (kind is SLatMeshDecoder)


def test_windows_lie_end_to_end_in_whole_blocks():
    """What xformers is given: attention over each block of rows is window attention."""
    coords = some_voxels(300)
    q, k, v = torch.randn(3, len(coords), 4, 8)
    rows, lengths = sort_by_window(coords, 8, 4)
    assert lengths.sum() == len(coords) and len(lengths) > 4
    blocks = zip(*(part[rows].split(lengths.tolist()) for part in (q, k, v)), strict=True)
    attended = torch.cat([one_window(*block) for block in blocks])[torch.argsort(rows)]
    torch.testing.assert_close(attended, attend_within(cut_into_windows(coords, 8, 4), q, k, v))


def one_window(q, k, v):
    heads = (part.transpose(0, 1) for part in (q, k, v))
    return F.scaled_dot_product_attention(*heads).transpose(0, 1)


def test_xformers_tables_with_a_plain_attention(monkeypatch):
    """xformers has no kernel for processors: its mask, written out, goes to torch's attention here."""
    module = pytest.importorskip(XFORMERS, exc_type=ImportError)

    def plain_attention(q, k, v, attn_bias):
        bias = attn_bias.materialize((1, 1, q.shape[1], k.shape[1]))
        heads = F.scaled_dot_product_attention(*(one.transpose(1, 2) for one in (q, k, v)), attn_mask=bias)
        return heads.transpose(1, 2)

    coords = some_voxels(300)
    q, k, v = torch.randn(3, len(coords), 4, 8)
    table = module.PackedWindows(coords, 8, 4)
    with pytest.raises(UserError, match="choose the engine torch"):
        table.attend(q, k, v)
    monkeypatch.setattr(module, "memory_efficient_attention", plain_attention)
    torch.testing.assert_close(table.attend(q, k, v), attend_within(cut_into_windows(coords, 8, 4), q, k, v))


@pytest.fixture
def spconv():
    """The engine that runs on a processor: spconv's plain algorithm."""
    pytest.importorskip("spconv")
    from spconv.core import ConvAlgo

    table = importlib.import_module(SPCONV).SpconvTable
    return Engine("spconv", lambda coords: table(coords, ConvAlgo.Native))


@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (4, 5), (32, 16), (64, 128)])
def test_spconv_convolves_like_torch(spconv, in_channels, out_channels):
    coords = some_voxels(500)
    feats, weights = torch.randn(len(coords), in_channels), some_weights(in_channels, out_channels)
    ours, theirs = find_neighbours(coords), spconv.neighbours(coords)
    out = submanifold_conv(feats, *weights, ours)
    with torch.inference_mode():
        torch.testing.assert_close(theirs.convolve(feats, *weights), out, atol=1e-5, rtol=1e-5)
    upstream = torch.randn_like(out)
    expected = gradients(lambda x, w, b: submanifold_conv(x, w, b, ours), upstream, feats, *weights)
    for one, other in zip(gradients(theirs.convolve, upstream, feats, *weights), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_spconv_convolves_the_children(spconv):
    coords = some_voxels(100)
    feats, weights = torch.randn(len(coords), 8), some_weights(8, 6)
    ours, theirs = find_neighbours(coords), spconv.neighbours(coords)
    out = theirs.convolve_children(feats, *weights)
    torch.testing.assert_close(out, subdivided_conv(feats, *weights, ours), atol=1e-5, rtol=1e-5)
    weights = some_weights(6, 4)
    again = submanifold_conv(out, *weights, ours.subdivide())
    torch.testing.assert_close(theirs.subdivide().convolve(out, *weights), again, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "args"), [(SLatFlowModel, FLOW), (SLatMeshDecoder, MESH)])
def test_networks_on_spconv(spconv, kind, args):
    network, coords = random_network(kind, args), some_voxels(60)
    with torch.inference_mode():
        expected, out = outputs(network, coords, TORCH), outputs(network, coords, spconv)
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")
def test_the_cuda_engine_passes_the_self_test(capsys):
    pytest.importorskip("spconv")
    assert selftest(["--engine", "cuda", "--device", "cuda"]) == 0, capsys.readouterr().out


@pytest.fixture
def traced(monkeypatch):
    """Blocks are traced; what the compiler makes of one is tested above."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch._dynamo.reset()


def request_for(tiny_model, picture, **others) -> Generate:
    data = picture.read_bytes()
    return Generate(
        *("job", str(tiny_model), "cpu", "fp32"),
        pictures=(Array("u1", (len(data),), data),),
        sparse_structure=SamplingParams(steps=2, cfg_strength=3.0, cfg_interval=(0.0, 1.0)),
        formats=("gaussian",),
        **others,
    )


def test_a_generation_with_both_passes_in_one_is_the_plain_one_and_reports(tiny_model, picture, traced):
    """Guidance is a batch of two."""
    request = request_for(tiny_model, picture)

    def made(engine: str) -> tuple[torch.Tensor, set[str]]:
        parts, stages = {}, set()
        TrellisEngine().make(
            replace(request, engine=engine),
            lambda *progress: stages.add(progress[0]),
            lambda one: parts.update({one.kind: one.value}),
        )
        return parts["structure_latent"], stages

    (latent, stages), (plain, plain_stages) = made("compile"), made("torch")
    torch.testing.assert_close(latent, plain, atol=2e-5, rtol=1e-5)
    assert stages == plain_stages


def test_what_is_compiled_stays_whole_and_serves_the_next_job(tiny_model, picture, traced):
    """Progress that changes with every step and job neither cuts graphs nor makes new ones."""
    counters, engine, graphs = torch._dynamo.utils.counters, TrellisEngine(), []
    counters.clear()
    for seed in (1, 2, 3):
        bar, told = ProgressBar(io.StringIO(), "job"), []

        def report(stage, step, steps, bar=bar, told=told):
            bar.update(step / steps, stage, "")
            told.append(stage)

        request = request_for(tiny_model, picture, engine="compile", seed=seed)
        engine.make(request, report, lambda one: None)
        graphs.append(counters["stats"]["unique_graphs"])
        assert told.count("sparse_structure") > 2 and told.count("structured_latent") > 2
    assert not counters["graph_break"]
    # One block serves all: with both batch sizes and dense tokens, and voxels of any number.
    assert 0 < graphs[0] <= 6 and graphs[1] - graphs[0] <= 1 and graphs[2] == graphs[1], graphs
