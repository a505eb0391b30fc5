// Options that must not compile, each with a text that the compiler has to show.
#include <fabric/options.h>

void run(const fabric::FabricOptions&);

void good() {
  run({.accelerator = "gpu", .strategy = "ddp", .devices = "0, 1", .precision = "bf16-mixed"});
}

// CASE accelerator: accelerator: expected
#ifdef CASE_accelerator
void bad() {
  run({.accelerator = "gpus"});
}
#endif

// CASE strategy: strategy: expected
#ifdef CASE_strategy
void bad() {
  run({.strategy = "dpp"});
}
#endif

// CASE devices_text: not a count or a list of ids
#ifdef CASE_devices_text
void bad() {
  run({.devices = "two"});
}
#endif

// CASE devices_zero: 0 devices cannot run anything
#ifdef CASE_devices_zero
void bad() {
  run({.devices = "0"});
}
#endif

// CASE devices_duplicate: an id is given twice
#ifdef CASE_devices_duplicate
void bad() {
  run({.devices = "1, 1"});
}
#endif

// CASE devices_bool: FabricOptions
#ifdef CASE_devices_bool
void bad() {
  run({.devices = true});
}
#endif

// CASE precision: precision: expected
#ifdef CASE_precision
void bad() {
  run({.precision = "fp32"});
}
#endif

// CASE order: declaration order
#ifdef CASE_order
void bad() {
  run({.devices = 1, .accelerator = "cpu"});
}
#endif
