// What a job says and checks at its start where a parser read its options.
#pragma once

#include <string>

#include <fabric/collectives.h>
#include <fabric/config/resolved.h>
#include <fabric/connector.h>

namespace fabric {

/// The plan, and below it every option that is not the default with what gave it: one line each.
std::string startup_table(const Plan& plan, const config::Resolved& resolved);

namespace detail {

/// Compares the configurations of all ranks. Collective; what no parser made is equal to the like.
/// @throws MisconfigurationError on every rank, naming the first option that differs from rank 0's
void check_same_configuration(const config::Resolved& resolved, const Communicators& group);

/// The first option in which two configurations differ, with both values; empty for none. Texts as
/// option_lines() gives them.
std::string first_difference(const std::string& here, const std::string& first);

/// Paths and values of all options: what is compared.
std::string option_lines(const config::Resolved& resolved);

}  // namespace detail
}  // namespace fabric
