// A thread that ends the job when this rank waits for one that has left.
#pragma once

namespace fabric::mpi::detail {

void start_watchdog();
void stop_watchdog();

}  // namespace fabric::mpi::detail
