# The bench for machines without a GPU: engine `cpu` needs the compiler that is installed here.
#
#     docker build -t recurrent-bench .
#     docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" recurrent-bench run quickstart.yaml
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/recurrent-bench
COPY requirements.lock pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY cells cells
COPY harness harness
COPY docs docs
COPY studies studies
# What the bench needs, in the versions of the lock. It names torch without a local tag, so that the
# CPU build, a tenth of the size, satisfies it.
RUN pip install --no-cache-dir --constraint requirements.lock \
        --extra-index-url https://download.pytorch.org/whl/cpu \
        '.[export,postgresql,ray,series,subwords]'

# Whoever runs it may be any user: one without a name, and without a home to write into.
ENV USER=bench HOME=/tmp \
    HARNESS_CACHE=/tmp/recurrent-bench MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
ENTRYPOINT ["harness"]
CMD ["--help"]
