"""One training step of a small GPT, side by side: minigrad, PyTorch eager, and others on request.

    python tests/benchmarks/train_step.py                          all five rows, about ten minutes
    python tests/benchmarks/train_step.py --rows 1 4 --rounds 9    some rows, more rounds
    python tests/benchmarks/train_step.py --peers                  torch.compile, JAX jit, HIPS autograd as well
    python tests/benchmarks/train_step.py --profile                where minigrad's step spends its time, op by op
    python tests/benchmarks/train_step.py --growth                 how the cost of a step grows with the model

What is measured: forward, backward and AdamW of a GPT with pre-norm blocks, causal attention, tanh-GELU and a head of
its own, vocabulary 65, float32. All libraries start from the same weights and see the same batches of random ids; they
must have the same number of parameters and make the same losses, or the benchmark stops.

How: each library and setting runs in a process of its own, since thread pools that share one disturb each other.
A round is one process for each setting, in turn, every other round backwards. Each process makes a few steps to warm
up, sleeps 0.3 s, so that no thread is still spinning, and then times step after step: its figure is the median step.
Only ratios within a round count, as the speed of a machine changes by the minute; of these we give the median.

The limit: the matrix products of a step, and nothing else, are timed in the same process, with PyTorch's product or
NumPy's. "step / products" says how far the step is from it. That is for contiguous arrays of the shapes in question;
the products of causal attention are counted in full.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

IDLE = 0.3  # seconds before a timed block
WARM_UP = 4  # steps; their losses are compared between libraries


# --- what is trained ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    batch: int
    seq_len: int
    d_model: int
    n_heads: int
    n_layers: int
    vocab_size: int = 65
    lr: float = 1e-3

    def __str__(self):
        return (
            f"batch {self.batch} x {self.seq_len} tokens, d_model {self.d_model}, "
            f"{self.n_heads} heads, {self.n_layers} layer{'s' if self.n_layers > 1 else ''}"
        )


ROWS = [
    Size(batch=4, seq_len=8, d_model=16, n_heads=2, n_layers=1),
    Size(batch=16, seq_len=16, d_model=32, n_heads=4, n_layers=1),
    Size(batch=16, seq_len=32, d_model=64, n_heads=4, n_layers=2),
    Size(batch=12, seq_len=64, d_model=128, n_heads=4, n_layers=4),  # nanoGPT's setting for a CPU
    Size(batch=32, seq_len=128, d_model=192, n_heads=6, n_layers=4),
]


def initial_weights(size):
    """The numbers every library starts from, under minigrad's names; a linear layer's weight is (d_in, d_out)."""
    d = size.d_model
    shapes = {"token_embedding.weight": (size.vocab_size, d), "position_embedding.weight": (size.seq_len, d)}
    for i in range(size.n_layers):
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{norm}.weight": (d,), f"blocks.{i}.{norm}.bias": (d,)}
        for name, d_in, d_out in [
            *((f"attn.{part}", d, d) for part in ("query", "key", "value", "out")),
            ("mlp.up", d, 4 * d),
            ("mlp.down", 4 * d, d),
        ]:
            shapes |= {f"blocks.{i}.{name}.weight": (d_in, d_out), f"blocks.{i}.{name}.bias": (d_out,)}
    shapes |= {"norm.weight": (d,), "norm.bias": (d,), "head.weight": (d, size.vocab_size)}

    rng = np.random.default_rng(0)
    ones = {name for name in shapes if "norm" in name and name.endswith("weight")}
    return {name: rng.normal(name in ones, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}


def batches(size, n=8):
    """Some pairs (ids, targets) of random ids."""
    rng = np.random.default_rng(1)
    ids = rng.integers(size.vocab_size, size=(n, size.batch, size.seq_len + 1))
    return [(np.ascontiguousarray(piece[:, :-1]), np.ascontiguousarray(piece[:, 1:])) for piece in ids]


def minigrad_step(size, weights):
    """A function (ids, targets) -> loss that makes one step, and how many parameters it trains."""
    from minigrad import cross_entropy, nn, optim

    model = nn.GPT(nn.GPTConfig(size.vocab_size, size.seq_len, size.n_layers, size.n_heads, size.d_model))
    model.load_state_dict(weights)
    optimizer = optim.AdamW(model.parameters(), lr=size.lr, weight_decay=0.01)

    def step(ids, targets):
        optimizer.zero_grad()
        loss = cross_entropy(model(ids), targets)
        loss.backward()
        optimizer.step()
        return loss

    return step, sum(p.size for p in model.parameters())


def step_of(library, size):
    """(step, number of parameters, batches) of a library. PyTorch's is in torch_gpt.py, the others' beside it."""
    weights, pairs = initial_weights(size), batches(size)
    if library == "minigrad":
        return *minigrad_step(size, weights), pairs
    if library in ("torch", "torch.compile"):
        import torch
        from torch_gpt import training_step

        pairs = [(torch.from_numpy(ids), torch.from_numpy(targets)) for ids, targets in pairs]
        return *training_step(size, weights, compiled=library == "torch.compile"), pairs
    import functional_gpt

    step = {"jax": functional_gpt.jax_step, "autograd": functional_gpt.autograd_step}[library]
    return step(size, weights), sum(w.size for w in weights.values()), pairs


# --- the limit ---------------------------------------------------------------------------------------------------


def products(size):
    """The matrix products of the forward pass, (batch axes, n, k, m) for each (n, k) @ (k, m).

    The backward pass has two more for each, of as many operations: grad_y @ bᵀ and aᵀ @ grad_y.
    """
    rows, d, T = size.batch * size.seq_len, size.d_model, size.seq_len
    heads, d_head = (size.batch * size.n_heads,), size.d_model // size.n_heads
    block = [
        ((), rows, d, 3 * d),  # query, key, value
        (heads, T, d_head, T),  # scores
        (heads, T, T, d_head),  # weights @ value
        ((), rows, d, d),
        ((), rows, d, 4 * d),
        ((), rows, 4 * d, d),
    ]
    return block * size.n_layers + [((), rows, d, size.vocab_size)]


def gflop(size):
    """Billions of floating-point operations in the matrix products of a step."""
    return sum(3 * 2 * math.prod(lead) * n * k * m for lead, n, k, m in products(size)) / 1e9


def products_alone(size, library):
    """A function that computes all matrix products of a step, forward and backward, with NumPy or PyTorch."""
    if library.startswith("torch"):
        import torch

        matmul, new = torch.matmul, torch.ones
    else:
        matmul, new = np.matmul, lambda shape: np.ones(shape, np.float32)
    arrays = {
        (lead, n, k, m): [new((*lead, *shape)) for shape in ((n, k), (k, m), (n, m), (n, k), (k, m))]
        for lead, n, k, m in products(size)
    }

    def run():
        for shape in products(size):
            a, b, y, grad_a, grad_b = arrays[shape]
            matmul(a, b, out=y)
            matmul(y, b.mT, out=grad_a)  # any array of y's shape does for grad_y
            matmul(a.mT, y, out=grad_b)

    return run


# --- one process: one library, one setting, one row --------------------------------------------------------------


def measure(library, size, seconds):
    """Milliseconds per step and for the products alone, peak memory above import (MB), and what to check it by."""
    started = time.perf_counter()
    first, *later = MODULES[library]
    importlib.import_module(first)
    import_ms = 1000 * (time.perf_counter() - started)
    for name in later:
        importlib.import_module(name)

    memory_after_import = peak_memory()
    step, n_parameters, pairs = step_of(library, size)
    losses = [float(step(*pairs[i])) for i in range(WARM_UP)]
    steps = timed(step, pairs, seconds)
    memory = peak_memory() - memory_after_import
    alone = timed(products_alone(size, library), [()], seconds / 2)
    return {
        "step_ms": statistics.median(steps),
        "fastest_step_ms": min(steps),
        "products_ms": statistics.median(alone),
        "memory_mb": memory,
        "import_ms": import_ms,
        "parameters": n_parameters,
        "losses": losses,
    }


def timed(f, arguments, seconds, at_least=10, at_most=300):
    """The times of single calls, in milliseconds, after a rest: `at_least` so many, more while `seconds` last."""
    f(*arguments[0])
    time.sleep(IDLE)
    times, started = [], time.perf_counter()
    while len(times) < at_least or (time.perf_counter() - started < seconds and len(times) < at_most):
        before = time.perf_counter()
        f(*arguments[len(times) % len(arguments)])
        times.append(1000 * (time.perf_counter() - before))
    return times


def peak_memory():
    """The most memory this process has had so far, in MB; nan where the system does not say (Windows)."""
    try:  # Linux's getrusage also remembers the process that started this one
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def profiled(size, steps=20):
    """The table of `minigrad.debug.profile` over some steps."""
    from minigrad.debug.profile import Profile

    step, _, pairs = step_of("minigrad", size)
    for i in range(WARM_UP):
        step(*pairs[i])
    time.sleep(IDLE)
    with Profile() as profile:
        for i in range(steps):
            step(*pairs[i % len(pairs)])
    return f"{steps} steps:\n{profile}"


def environment():
    """What minigrad says its numbers depend on: NumPy, BLAS and its kernels, threads, CPU features."""
    from minigrad.training.checkpoint import environment

    return environment()


# --- all processes -----------------------------------------------------------------------------------------------

MODULES = {  # what each library imports, at once or later
    "minigrad": ["minigrad"],
    "torch": ["torch", "torch._dynamo"],  # the first optimizer imports it, 72 MB, which we do not count as the step's
    "torch.compile": ["torch", "torch._dynamo"],
    "jax": ["jax"],
    "autograd": ["autograd.numpy"],
}


@dataclass
class Setting:
    """A library in a process of its own, with these environment variables; and its measurements, one a round."""

    name: str
    library: str
    env: dict[str, str] = field(default_factory=dict)
    rounds: list[dict] = field(default_factory=list)
    failed: str = ""

    def median(self, key):
        return statistics.median(r[key] for r in self.rounds)


def in_process(job, *arguments, env=()):
    """job(*arguments), a function of this file by name, in a new process. Returns its result."""
    chosen_here = ("_NUM_THREADS", "OPENBLAS_CORETYPE")  # whatever the user's shell says about threads and kernels
    clean = {name: value for name, value in os.environ.items() if not name.endswith(chosen_here)}
    command = [sys.executable, __file__, "--job", json.dumps([job, *arguments])]
    done = subprocess.run(command, env=clean | dict(env), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{job}{arguments} with {dict(env)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_job(text):
    job, *arguments = json.loads(text)
    jobs = {"measure": measure, "profiled": profiled, "environment": environment}
    arguments = [Size(**a) if isinstance(a, dict) else a for a in arguments]
    print(json.dumps(jobs[job](*arguments)))


PEERS = {  # library: (what tables call it, the module it needs)
    "torch.compile": ("torch.compile", "torch"),
    "jax": ("JAX jit", "jax"),
    "autograd": ("HIPS autograd", "autograd"),
}
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "MKL", "OMP")}


def settings(kernels, libraries):
    """What is compared. `kernels`: {name: environment variables} for minigrad; `libraries`: those beside it."""
    found = [Setting(f"minigrad, {name}", "minigrad", env) for name, env in kernels.items()]
    found.append(Setting("minigrad, 1 thread", "minigrad", ONE_THREAD))
    if "torch" in libraries:
        found.append(Setting("PyTorch eager, 1 thread", "torch", ONE_THREAD))
        found.append(Setting("PyTorch eager, all threads", "torch"))
    return found + [Setting(PEERS[library][0], library) for library in libraries if library in PEERS]


def libraries_beside(peers):
    """PyTorch, and the peers if wanted, where they are installed; says which are not."""
    found = []
    if importlib.util.find_spec("torch"):
        found.append("torch")
    else:
        print("PyTorch is not installed (pip install torch): there is no comparison, minigrad is measured alone.")
    for library, (name, module) in PEERS.items() if peers else ():
        if importlib.util.find_spec(module):
            found.append(library)
        else:
            print(f"{name} is not installed (pip install {module}): left out.")
    return found


def measure_row(size, found, rounds, seconds, label):
    for r in range(rounds):
        for setting in found if r % 2 == 0 else reversed(found):
            progress(f"{label}, round {r + 1} of {rounds}: {setting.name}")
            if setting.failed:
                continue
            try:
                setting.rounds.append(in_process("measure", setting.library, asdict(size), seconds, env=setting.env))
            except RuntimeError as error:
                if setting.library in ("minigrad", "torch"):
                    raise
                setting.failed = str(error)  # a peer that does not run here does not stop the others
                setting.rounds.clear()
    progress("")


def check_same_model(found):
    """All train the same number of parameters from the same losses. Raises RuntimeError."""
    first, *others = [setting for setting in found if setting.rounds]
    for other in others:
        mine, theirs = first.rounds[0], other.rounds[0]
        if mine["parameters"] != theirs["parameters"]:
            raise RuntimeError(
                f"{first.name} has {mine['parameters']} parameters, {other.name} {theirs['parameters']}: "
                f"these are different models"
            )
        if not np.allclose(mine["losses"], theirs["losses"], rtol=1e-4):
            raise RuntimeError(
                f"from the same weights {first.name} has the losses {mine['losses']}, {other.name} {theirs['losses']}: "
                f"these are different models"
            )


# --- tables ------------------------------------------------------------------------------------------------------


def best_of_torch(found):
    """PyTorch eager's milliseconds in each round, at whichever number of threads was faster in it."""
    torch = [[r["step_ms"] for r in setting.rounds] for setting in found if setting.library == "torch"]
    return [min(times) for times in zip(*torch, strict=True)]


def ratios(setting, found):
    """PyTorch's best time over this setting's, in each round: above 1, this one is faster."""
    return [torch / r["step_ms"] for torch, r in zip(best_of_torch(found), setting.rounds, strict=False)]


def print_row(number, size, found):
    parameters = found[0].rounds[0]["parameters"]
    print(f"\nRow {number}: {size}; {parameters:,} parameters, {gflop(size):.2g} GFLOP in matrix products")
    head = ["", "step ms", "fastest", "products ms", "step / products", "peak MB", "PyTorch's best / this, per round"]
    lines = []
    for setting in found:
        if setting.failed:
            continue
        from_limit = statistics.median(r["step_ms"] / r["products_ms"] for r in setting.rounds)
        per_round = ratios(setting, found)
        listed = " ".join(f"{ratio:.2f}" for ratio in per_round)
        lines.append(
            [
                setting.name,
                f"{setting.median('step_ms'):.2f}",
                f"{min(r['fastest_step_ms'] for r in setting.rounds):.2f}",
                f"{setting.median('products_ms'):.2f}",
                f"{from_limit:.2f}",
                f"{setting.median('memory_mb'):.0f}",
                f"{statistics.median(per_round):.2f}  ({listed})" if per_round else "",
            ]
        )
    print_table(head, lines)
    for setting in found:
        if setting.failed:
            print(f"{setting.name} does not run here: {setting.failed.strip().splitlines()[-1]}")


def print_summary(rows):
    """The ratio to PyTorch of every row, and how much memory minigrad takes beside it."""
    minigrad = [setting.name for setting in rows[0][2] if setting.library == "minigrad"]
    head = ["PyTorch eager at its best number of threads / minigrad", *(f"row {number}" for number, _, _ in rows)]
    lines = []
    for name in minigrad:
        of_name = [next(s for s in found if s.name == name) for _, _, found in rows]
        by_row = [ratios(s, found) for s, (_, _, found) in zip(of_name, rows, strict=True)]
        lines.append([f"time, {name}", *(f"{statistics.median(per_round):.2f}" for per_round in by_row)])
    memory = []
    for _, _, found in rows:
        mine = next(s for s in found if s.library == "minigrad").median("memory_mb")
        torch = min(s.median("memory_mb") for s in found if s.library == "torch")
        memory.append(f"{torch / mine:.2f}")
    print()
    print_table(head, [*lines, ["peak memory above import", *memory]])


def print_table(head, lines):
    """The first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
    for line in [head, ["-" * width for width in widths], *lines]:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())


def progress(text):
    if sys.stderr.isatty():
        print(f"\r{text:78.78}\r", end="", file=sys.stderr, flush=True)


# --- growth ------------------------------------------------------------------------------------------------------


def growth(rounds, seconds):
    """Double one thing at a time, four times, from a small model; minigrad with OpenBLAS's default kernels."""
    base = Size(batch=8, seq_len=32, d_model=64, n_heads=4, n_layers=1)
    print(f"\nHow the cost of a step grows, from {base}. 'arithmetic' is the growth of the matrix products' FLOP.")
    results = []
    for title, name in [
        ("tokens (batch size)", "batch"),
        ("width (d_model)", "d_model"),
        ("depth (n_layers)", "n_layers"),
        ("sequence length, same batch size", "seq_len"),
    ]:
        sizes = [replace(base, **{name: getattr(base, name) * 2**i}) for i in range(5)]
        found = []
        for size in sizes:
            progress(f"growth with {title}: {getattr(size, name)}")
            runs = [in_process("measure", "minigrad", asdict(size), seconds) for _ in range(rounds)]
            found.append(Setting(title, "minigrad", rounds=runs))
        progress("")
        ms = [setting.median("step_ms") for setting in found]
        mb = [setting.median("memory_mb") for setting in found]
        print()
        print_table(
            [title, *(str(getattr(size, name)) for size in sizes), "16 times"],
            [
                ["step ms", *(f"{t:.2f}" for t in ms), ""],
                ["  growth", *_growth(ms)],
                ["  arithmetic", *_growth([gflop(size) for size in sizes])],
                ["peak MB", *(f"{m:.0f}" for m in mb), ""],
                ["  growth", *_growth(mb)],
            ],
        )
        results.append({"doubled": name, "sizes": [asdict(size) for size in sizes], "step_ms": ms, "memory_mb": mb})
    return results


def _growth(values):
    """Each value over the one before, and the last over the first."""
    steps = [f"x{b / a:.2f}" if a > 0 else "" for a, b in itertools.pairwise(values)]
    return ["", *steps, f"x{values[-1] / values[0]:.1f}" if values[0] > 0 else ""]


# --- the machine -------------------------------------------------------------------------------------------------


def kernels_to_measure(default, forced):
    """{name: environment variables}: OpenBLAS's default kernels, and the best ones where those are others.

    `default` is the name of the kernels OpenBLAS chooses by itself, `forced` those the user asks for.
    """
    found = {f"default kernels ({default})": {}}
    if default in ("Haswell", "Zen", "Sandybridge") and has_avx512():
        found["best kernels (SkylakeX)"] = {"OPENBLAS_CORETYPE": "SKYLAKEX"}
        print(
            f"OpenBLAS takes its {default} kernels here although the CPU has AVX-512. OPENBLAS_CORETYPE=SKYLAKEX, set\n"
            f"before NumPy is imported, chooses faster ones; minigrad does not set it for you, we measure both."
        )
    elif default != "default":  # which means that NumPy's library does not tell
        print(f"OpenBLAS's default kernels are {default} here, and we know of none better for this CPU.")
    if forced:
        found[f"{forced} kernels"] = {"OPENBLAS_CORETYPE": forced}
    return found


def has_avx512():
    """What OpenBLAS's SKYLAKEX kernels need (Linux only: elsewhere we cannot tell)."""
    return {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= set(_cpuinfo().split())


def _cpuinfo():
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def machine():
    """CPU, versions and settings, for the head of the table and the JSON file."""
    names = [line.split(":")[1].strip() for line in _cpuinfo().splitlines() if line.startswith("model name")]
    found = {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **in_process("environment"),
    }
    if importlib.util.find_spec("torch"):
        from importlib.metadata import version

        found["torch"] = version("torch")
    return found


def print_machine(about):
    print(
        f"{about['cpu']}, {about['cores']} cores; Python {about['python']}, NumPy {about['NumPy']}, {about['BLAS']}"
        + (f", PyTorch {about['torch']}" if "torch" in about else "")
    )
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.3 * about["cores"]:
        print(
            f"Other programs are running (load {os.getloadavg()[0]:.1f} on {about['cores']} cores): "
            f"expect noise, above all where several threads work together."
        )


# --- the command -------------------------------------------------------------------------------------------------


def compare(args, kernels):
    """Measure and print the rows. Returns every figure."""
    libraries = libraries_beside(args.peers)
    rows = []
    for number in args.rows:
        size, found = ROWS[number - 1], settings(kernels, libraries)
        measure_row(size, found, args.rounds, args.seconds, f"row {number}")
        check_same_model(found)
        print_row(number, size, found)
        if args.profile:
            print(f"\nminigrad, {in_process('profiled', asdict(size))}")
        rows.append((number, size, found))
    if "torch" in libraries:
        print_summary(rows)
    imports = {s.library: s.median("import_ms") for s in rows[0][2] if s.rounds}
    print(f"\nimport, beyond NumPy: {', '.join(f'{name} {ms:.0f} ms' for name, ms in imports.items())}")
    return [
        {"row": number, "size": asdict(size), "settings": [asdict(setting) for setting in found]}
        for number, size, found in rows
    ]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = range(1, len(ROWS) + 1)
    parser.add_argument("--rows", type=int, nargs="+", choices=numbers, default=[*numbers], help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--seconds", type=float, default=1.0, help="of timing in each process (default 1)")
    parser.add_argument("--peers", action="store_true", help="torch.compile, JAX jit, HIPS autograd where installed")
    parser.add_argument("--profile", action="store_true", help="print time per op and module for each row")
    parser.add_argument("--growth", action="store_true", help="how cost grows with the model, instead of the rows")
    parser.add_argument("--kernels", metavar="NAME", help="a third OPENBLAS_CORETYPE to measure, such as HASWELL")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # what in_process calls
    args = parser.parse_args(argv)
    if args.job:
        return run_job(args.job)
    if args.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {args.rounds}")
    if args.json and not args.json.parent.is_dir():
        parser.error(f"--json: there is no folder {args.json.parent}")

    about = machine()
    print_machine(about)
    results = {"machine": about}
    if args.growth:
        results["growth"] = growth(args.rounds, args.seconds)
    else:
        results["rows"] = compare(args, kernels_to_measure(about["BLAS kernels"], args.kernels))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
        print(f"figures: {args.json}")


if __name__ == "__main__":
    main()
