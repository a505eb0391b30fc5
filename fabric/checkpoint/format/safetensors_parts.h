// Names of the files that a split safetensors checkpoint consists of.
//
// Parts get names that are free, and the index takes its name last: until then an earlier
// checkpoint of the same path is whole, afterwards its files are removed. So a crash leaves the old
// one or the new one, never a mixture.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace fabric::detail {

/// `model.safetensors.index.json` of `model.safetensors`.
std::filesystem::path safetensors_index_path(const std::filesystem::path& path);

/// Names for `count` parts of `path`: `model-00001-of-00003.safetensors` and so on; where one of
/// those is there already, `model.g2-00001-of-…`, or the next number that is free.
std::vector<std::string> free_part_names(const std::filesystem::path& path, std::size_t count);

/// Removes parts of earlier checkpoints of `path`, all but those in `kept`, where that is allowed.
void remove_other_parts(const std::filesystem::path& path, const std::vector<std::string>& kept);

}  // namespace fabric::detail
