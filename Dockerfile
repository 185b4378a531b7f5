# The bench for machines without a GPU: engine `cpu` needs the compiler that is installed here.
#
#     docker build -t recurrent-bench .
#     docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" recurrent-bench run quickstart.yaml
#
# Not built: no Docker was at hand where it was written. A test checks that what it copies is there.
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/recurrent-bench
COPY requirements.lock ./
# The lock names torch without a local tag, so that the CPU build, a tenth of the size, satisfies it.
RUN pip install --no-cache-dir --no-deps --extra-index-url https://download.pytorch.org/whl/cpu \
        -r requirements.lock
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY cells cells
COPY harness harness
COPY docs docs
COPY studies studies
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

# Whoever runs it may be any user: one without a name, and without a home to write into.
ENV USER=bench HOME=/tmp \
    HARNESS_CACHE=/tmp/recurrent-bench MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["harness"]
CMD ["--help"]
