// A thread that ends the job when this rank waits for one that has left, or waits longer than
// FABRIC_TIMEOUT seconds (default 1800, 0: for ever) in a collective that some ranks never asked
// for.
#pragma once

namespace fabric::mpi::detail {

void start_watchdog();
void stop_watchdog();

}  // namespace fabric::mpi::detail
