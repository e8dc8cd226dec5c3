# prunebench on CPUs: docker build -t prunebench . && docker run -v "$PWD:/work" prunebench prune --help
# The base has CPython 3.12; the compiler builds the kernels of packed models and is left behind.
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ git && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python -m venv /opt/prunebench \
    && /opt/prunebench/bin/pip install --no-cache-dir "$(grep '^torch==' constraints.txt)" \
    && /opt/prunebench/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends git libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/prunebench /opt/prunebench
ENV PATH=/opt/prunebench/bin:$PATH
WORKDIR /work
ENTRYPOINT ["prunebench"]
CMD ["--help"]
