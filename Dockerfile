# An image that holds the project and everything it needs: `make repro` and `make test` run in it, without network.
#
#   make docker-build
#   docker run --rm linear-shortcuts make test     # on the copy inside the image
#   make docker-run                                # a shell on your own folder; results stay in it
#
# Package versions are those of constraints.txt. The base image moves with Debian's and Python 3.11's security fixes;
# name one by its digest where that must not be: --build-arg PYTHON=3.11-slim-bookworm@sha256:…
ARG PYTHON=3.11-slim-bookworm
FROM python:${PYTHON}

# PyTorch's own index has the CPU wheel, a tenth of the size of the one on PyPI, which is for CUDA. For that one:
# make docker-build TORCH_INDEX=https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# No compiler: every dependency is a wheel or pure Python. Versions are those of the base image's Debian.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/*

# A home for whoever runs the container: `docker-run` enters it with the caller's user id, which has no name here, and
# Python, Git and matplotlib ask for one.
RUN useradd --create-home --uid 1000 researcher \
 && chmod 1777 /home/researcher \
 && install --directory --owner=1000 --group=1000 /project /opt/venv
ENV HOME=/home/researcher \
    LOGNAME=researcher \
    VENV=/opt/venv \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
USER 1000:1000
WORKDIR /project

# The packages first, and apart from the sources: a changed line of code does not install them anew. Nor does a mounted
# folder whose files are younger than the image; after a change of constraints.txt, build again.
COPY --chown=1000:1000 Makefile pyproject.toml constraints.txt README.md LICENSE ./
COPY --chown=1000:1000 linear_shortcuts/__init__.py linear_shortcuts/_door.py linear_shortcuts/
RUN python -m venv "$VENV" \
 && "$VENV/bin/pip" install --no-deps --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)" \
 && make install \
 && touch --date=2100-01-01 "$VENV/installed"

# DVC works in a Git repository. The history stays outside, and in a linked worktree .git is no folder anyway, so the
# copy in the image becomes a repository of one commit. A mounted folder brings its own.
COPY --chown=1000:1000 . .
RUN git init --quiet \
 && git add --all \
 && git -c user.name=image -c user.email=image@localhost commit --quiet --message "As built"

CMD ["bash"]
