# Plimsoll's face for people: everything below is CMake + Ninja underneath (CMakePresets.json).
PREFIX ?= /usr/local
PORT ?= 8080

.PHONY: help build run test bench bench-serving install clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build/plimsoll and build/forge (installs missing Debian packages first)
	@tools/deps.sh
	@cmake --preset release >/dev/null
	@cmake --build --preset release

run: build ## serve the built-in model on 127.0.0.1:8080 (PORT=… for another)
	@build/plimsoll serve --port $(PORT)

test: ## every test there is: unit, oom, golden, scenario, real clients, ARM kernels, sanitizers, fuzz
	@tools/deps.sh test
	@tools/test.sh

bench: build ## speed beside llama.cpp, in one run (needs npm; BENCH="--quick", "--only decode,batched")
	@python3 bench/run.py --plimsoll build/plimsoll --forge build/forge $(BENCH)

bench-serving: build ## many streams, gaps beside long prompts, known prefixes: ratios of one run
	@python3 bench/serving.py --plimsoll build/plimsoll --forge build/forge

install: build ## into PREFIX (/usr/local)
	@cmake --install build --prefix $(PREFIX)

clean: ## remove everything that was built
	@rm -rf build build-asan build-tsan build-hostile build-fuzz build-cross
