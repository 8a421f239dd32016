"""Environment variables of every process that computes; what the user has set himself wins."""

from __future__ import annotations

COMPUTE_ENVIRONMENT: dict[str, str] = {
    "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1",
    # Threads that wait for each other sleep instead of spinning. On a machine whose cores have other work, spinning made
    # a training step fifty times slower (44 instead of 2300 tokens/s with two busy neighbours on two cores).
    "OMP_WAIT_POLICY": "PASSIVE",
    # oneDNN keeps a kernel for every shape it meets, a thousand by default; batches of text have many shapes.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    # Nothing here is compiled, but bitsandbytes marks functions for it as it is imported, and a sixth of a worker's start went
    # into loading the compiler (550 modules).
    "TORCHDYNAMO_DISABLE": "1",
}
