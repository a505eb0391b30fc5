# Finds what the library is built from, and resolves the AUTO options.
find_package(LibTorch REQUIRED)
find_package(Threads REQUIRED)

# Boost.PFR with field names (>= 1.84); Debian 12 has an older one, tools/setup brings a wheel.
file(GLOB _pfr_hints "${FABRIC_DEPS}/venv/lib/python3*/site-packages/cmeel.prefix/include")
find_path(BoostPFR_INCLUDE_DIR boost/pfr/core_name.hpp HINTS ${_pfr_hints})
if(NOT BoostPFR_INCLUDE_DIR)
  message(FATAL_ERROR "Boost.PFR >= 1.84 (boost/pfr/core_name.hpp) was not found. "
    "Run tools/setup, or pass -DBoostPFR_INCLUDE_DIR=<folder>.")
endif()

# Checkpoints: checksums, JSON; configurations: YAML. Used in sources only.
find_path(Deflate_INCLUDE_DIR libdeflate.h)
find_library(Deflate_LIBRARY deflate)
find_package(ZLIB QUIET)
find_path(NlohmannJson_INCLUDE_DIR nlohmann/json.hpp)
find_path(YamlCpp_INCLUDE_DIR yaml-cpp/yaml.h)
find_library(YamlCpp_LIBRARY yaml-cpp)
foreach(_needed IN ITEMS "Deflate_INCLUDE_DIR;libdeflate-dev" "Deflate_LIBRARY;libdeflate-dev"
    "ZLIB_FOUND;zlib1g-dev" "NlohmannJson_INCLUDE_DIR;nlohmann-json3-dev"
    "YamlCpp_INCLUDE_DIR;libyaml-cpp-dev" "YamlCpp_LIBRARY;libyaml-cpp-dev")
  list(GET _needed 0 _variable)
  list(GET _needed 1 _package)
  if(NOT ${_variable})
    message(FATAL_ERROR "${_package} was not found. Run tools/setup (it is a Debian package), or "
      "pass -D${_variable}=<where it is>.")
  endif()
endforeach()

set(FABRIC_MPI OFF)
set(FABRIC_MPI_SUMMARY "off (FABRIC_WITH_MPI=${FABRIC_WITH_MPI}): one process")
if(NOT FABRIC_WITH_MPI STREQUAL "OFF")
  set(MPI_CXX_SKIP_MPICXX ON)
  find_package(MPI COMPONENTS CXX QUIET)
  if(MPI_CXX_FOUND)
    set(FABRIC_MPI ON)
    set(FABRIC_MPI_SUMMARY "on (${MPI_CXX_LIBRARIES})")
  elseif(FABRIC_WITH_MPI STREQUAL "AUTO")
    set(FABRIC_MPI_SUMMARY "off (not found): one process")
  else()
    message(FATAL_ERROR "FABRIC_WITH_MPI=ON, but no MPI was found. Run tools/setup "
      "(Debian: libopenmpi-dev openmpi-bin), or pass -DFABRIC_WITH_MPI=OFF.")
  endif()
endif()

set(FABRIC_CUDA OFF)
set(FABRIC_CUDA_SUMMARY "off (FABRIC_WITH_CUDA=${FABRIC_WITH_CUDA})")
if(NOT FABRIC_WITH_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit QUIET)
  get_filename_component(_torch_lib "${LibTorch_CPU_LIBRARY}" DIRECTORY)
  get_filename_component(_site "${_torch_lib}/../.." ABSOLUTE)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS "${_site}/nvidia/nccl/include" ${CUDAToolkit_INCLUDE_DIRS})
  # torch_cuda pulls in cuDNN and its kin at link time: without them the wheel is a CPU one to us.
  file(GLOB _cudnn "${_site}/nvidia/cudnn/lib/libcudnn.so*")
  if(NOT CUDAToolkit_FOUND)
    set(_missing "the CUDA toolkit (nvcc)")
  elseif(NOT TARGET LibTorch::cuda)
    set(_missing "torch_cuda in LibTorch")
  elseif(NOT NCCL_INCLUDE_DIR)
    set(_missing "nccl.h")
  elseif(NOT _cudnn AND NOT Torch_DIR)
    set(_missing "the NVIDIA wheels that torch_cuda needs")
  endif()
  if(NOT _missing)
    set(FABRIC_CUDA ON)
    set(FABRIC_CUDA_SUMMARY "on (CUDA ${CUDAToolkit_VERSION}, ${NCCL_INCLUDE_DIR})")
  elseif(FABRIC_WITH_CUDA STREQUAL "AUTO")
    set(FABRIC_CUDA_SUMMARY "off (not found: ${_missing})")
  else()
    message(FATAL_ERROR "FABRIC_WITH_CUDA=ON, but ${_missing} was not found. "
      "Run tools/setup --cuda and install the CUDA toolkit, or pass -DFABRIC_WITH_CUDA=OFF.")
  endif()
endif()
