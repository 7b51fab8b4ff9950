module slipway.dev/benchmarks/loadgen

go 1.26
