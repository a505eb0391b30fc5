#include <accelerators/devices.h>

#include <limits>
#include <numeric>

#include <accelerators/accelerator.h>
#include <accelerators/cuda/cuda.h>
#include <accelerators/error.h>

namespace fabric {
namespace {

std::string join(std::span<const int> ids) {
  std::string text;
  for (const int id : ids) {
    text += (text.empty() ? "" : ", ") + std::to_string(id);
  }
  return text;
}

}  // namespace

void Devices::fail(Problem problem, std::string_view given, std::string_view source) {
  const char* what = "";
  const char* hint = "";
  switch (problem) {
    case zero:
      what = "no device is asked for";
      hint = "leave `devices` out to let the machine decide.";
      break;
    case negative:
      what = "a count of devices is negative";
      hint = "-1 is the only negative one: all devices.";
      break;
    case negative_id:
      what = "an id of a device is negative";
      hint = "ids begin at 0.";
      break;
    case duplicate:
      what = "an id of a device is given twice";
      hint = "each device runs one process.";
      break;
    case empty:
      what = "no device is given";
      hint = "leave `devices` out to let the machine decide.";
      break;
    case too_many:
      what = "more than 64 ids are given, or a count is out of range";
      hint = "`devices` counts the devices of one node; add nodes by mpirun.";
      break;
    case garbage:
    case ok:
      what = "not a count of devices and not a list of ids";
      hint = "ids are separated by commas; a single one needs a comma too: '2,'.";
      break;
  }
  FABRIC_CHECK(Misconfiguration, false, "[fabric.devices] ", what, "; got '", given, "'",
               detail::from(source), "; expected ", expected(), ". Hint: ", hint);
  __builtin_unreachable();
}

Devices Devices::from_text(std::string_view text, std::string_view source) {
  Devices devices;
  const Problem problem = devices.parse(text);
  if (problem != ok) {
    fail(problem, text, source);
  }
  return devices;
}

Devices Devices::from_count(long long count) {
  if (count > std::numeric_limits<int>::max() || count < std::numeric_limits<int>::min()) {
    fail(too_many, std::to_string(count), {});
  }
  return from_text(std::to_string(count));
}

Devices Devices::from_ids(const std::vector<int>& ids) {
  Devices devices;
  devices.kind_ = list;
  for (const int id : ids) {
    const Problem problem = devices.add_id(id);
    if (problem != ok) {
      fail(problem, join(ids), {});
    }
  }
  if (ids.empty()) {
    fail(empty, "{}", {});
  }
  return devices;
}

std::string Devices::to_text() const {
  switch (kind_) {
    case automatic:
      return "auto";
    case all:
      return "-1";
    case count:
      return std::to_string(size_);
    case list:
      break;
  }
  return join(ids()) + (size_ == 1 ? "," : "");
}

AcceleratorFacts facts_of(const Accelerator& accelerator) {
  return {accelerator.name(), accelerator.device_type(), accelerator.device_count(),
          accelerator.auto_device_count()};
}

std::vector<int> resolve(const Devices& devices, const AcceleratorFacts& accelerator,
                         std::string_view source) {
  const bool cpu = accelerator.type == c10::DeviceType::CPU;
  const int available = accelerator.available;
  FABRIC_CHECK(Misconfiguration,
               !cpu || devices.kind() == Devices::automatic || devices.kind() == Devices::count,
               "[fabric.devices] the CPU has no ids and no number of devices to take all of; got '",
               devices.to_text(), "'", detail::from(source),
               "; expected 'auto' or the number of processes, such as 2. ",
               "Hint: write .devices = 2 for two processes, or .accelerator = \"cuda\".");
  if (devices.kind() == Devices::list) {
    for (const int id : devices.ids()) {
      FABRIC_CHECK(Device, id < available, "[fabric.devices] device ", id, " is absent; got '",
                   devices.to_text(), "'", detail::from(source), "; expected ids below ", available,
                   ": this process sees ", available, " ", accelerator.name, " device",
                   available == 1 ? "" : "s",
                   ". Hint: CUDA_VISIBLE_DEVICES hides devices and numbers the rest from 0.");
    }
    return {devices.ids().begin(), devices.ids().end()};
  }
  int wanted = devices.requested().value_or(
      devices.kind() == Devices::all ? available : accelerator.auto_count);
  FABRIC_CHECK(
      Device, cpu || (wanted <= available && wanted > 0), "[fabric.devices] ",
      wanted == 0 ? "there is no device" : "fewer devices are there than asked for",
      "; got devices='", devices.to_text(), "'", detail::from(source), " and ", available, " ",
      accelerator.name, " device", available == 1 ? "" : "s", "; expected at most ", available,
      ". Hint: `devices` counts the devices of one node; CUDA_VISIBLE_DEVICES hides some.");
  std::vector<int> ids(wanted);
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

std::vector<int> resolve(const Devices& devices, const Accelerator& accelerator) {
  return resolve(devices, facts_of(accelerator));
}

std::vector<int> find_usable_cuda_devices(int count) {
  FABRIC_CHECK(Misconfiguration, count >= -1, "[fabric.find_usable_cuda_devices] got ", count,
               "; expected a count, or -1 for all usable devices");
  if (count == 0) {
    return {};
  }
  const int visible = cuda::device_count();
  FABRIC_CHECK(Device, visible > 0, "[fabric.find_usable_cuda_devices] ",
               cuda::unavailable_reason());
  std::vector<int> usable;
  for (int id = 0; id < visible && (count == -1 || static_cast<int>(usable.size()) < count); ++id) {
    if (cuda::is_usable(id)) {
      usable.push_back(id);
    }
  }
  const int found = static_cast<int>(usable.size());
  FABRIC_CHECK(
      Device, found > 0 && found >= count,
      "[fabric.find_usable_cuda_devices] too few usable devices; got ", found, " of ", visible,
      " visible ones; expected ", count == -1 ? "at least 1" : std::to_string(count),
      ". Hint: the others are taken by other processes or are out of memory (nvidia-smi).");
  return usable;
}

}  // namespace fabric
