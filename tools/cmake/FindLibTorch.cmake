# Finds LibTorch without the CUDA toolkit that `find_package(Torch)` of a CUDA wheel asks for.
#
# Looks, in this order, in Torch_DIR (a user's own LibTorch: <root>/share/cmake/Torch), then in the
# Python environment that tools/setup made (FABRIC_DEPS, default ~/.cache/fabric-cpp).
# Targets: LibTorch::cpu (torch_cpu, c10), and LibTorch::cuda (torch_cuda, c10_cuda) where present.
set(_deps "$ENV{FABRIC_DEPS}")
if(NOT _deps)
  set(_deps "$ENV{XDG_CACHE_HOME}")
  if(NOT _deps)
    set(_deps "$ENV{HOME}/.cache")
  endif()
  string(APPEND _deps "/fabric-cpp")
endif()
set(FABRIC_DEPS "${_deps}" CACHE PATH "Where tools/setup keeps wheels")
file(GLOB _site "${FABRIC_DEPS}/venv/lib/python3*/site-packages")
set(_roots)
if(Torch_DIR)
  get_filename_component(_root "${Torch_DIR}/../../.." ABSOLUTE)
  list(APPEND _roots "${_root}")
endif()
foreach(_s IN LISTS _site)
  list(APPEND _roots "${_s}/torch")
endforeach()

find_path(LibTorch_INCLUDE_DIR torch/csrc/api/include/torch/torch.h
  HINTS ${_roots} PATH_SUFFIXES include NO_CMAKE_SYSTEM_PATH NO_SYSTEM_ENVIRONMENT_PATH)
find_library(LibTorch_CPU_LIBRARY torch_cpu
  HINTS ${_roots} PATH_SUFFIXES lib NO_CMAKE_SYSTEM_PATH NO_SYSTEM_ENVIRONMENT_PATH)
find_library(LibTorch_C10_LIBRARY c10
  HINTS ${_roots} PATH_SUFFIXES lib NO_CMAKE_SYSTEM_PATH NO_SYSTEM_ENVIRONMENT_PATH)
find_library(LibTorch_CUDA_LIBRARY torch_cuda
  HINTS ${_roots} PATH_SUFFIXES lib NO_CMAKE_SYSTEM_PATH NO_SYSTEM_ENVIRONMENT_PATH)
find_library(LibTorch_C10_CUDA_LIBRARY c10_cuda
  HINTS ${_roots} PATH_SUFFIXES lib NO_CMAKE_SYSTEM_PATH NO_SYSTEM_ENVIRONMENT_PATH)
mark_as_advanced(LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY
  LibTorch_CUDA_LIBRARY LibTorch_C10_CUDA_LIBRARY)

if(LibTorch_INCLUDE_DIR)
  file(STRINGS "${LibTorch_INCLUDE_DIR}/torch/headeronly/version.h" _version
    REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE "[^0-9;]" "" _version "${_version}")
  string(REPLACE ";" "." LibTorch_VERSION "${_version}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "Run tools/setup, or pass -DTorch_DIR=<libtorch>/share/cmake/Torch.")

if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  get_filename_component(_libdir "${LibTorch_CPU_LIBRARY}" DIRECTORY)
  get_filename_component(_site "${_libdir}/../.." ABSOLUTE)
  # The wheel's libraries lie in sibling folders named nvidia/<package>/lib.
  file(GLOB _nvidia "${_site}/nvidia/*/lib")
  add_library(LibTorch::cpu INTERFACE IMPORTED)
  set_target_properties(LibTorch::cpu PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES
      "${LibTorch_INCLUDE_DIR};${LibTorch_INCLUDE_DIR}/torch/csrc/api/include"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES
      "${LibTorch_INCLUDE_DIR};${LibTorch_INCLUDE_DIR}/torch/csrc/api/include"
    INTERFACE_COMPILE_DEFINITIONS "USE_DISTRIBUTED;USE_RPC;USE_TENSORPIPE"
    INTERFACE_LINK_LIBRARIES "${LibTorch_CPU_LIBRARY};${LibTorch_C10_LIBRARY}")
  foreach(_dir IN LISTS _nvidia)
    set_property(TARGET LibTorch::cpu APPEND PROPERTY
      INTERFACE_LINK_OPTIONS "LINKER:-rpath-link,${_dir}")
  endforeach()
  if(LibTorch_CUDA_LIBRARY AND LibTorch_C10_CUDA_LIBRARY)
    add_library(LibTorch::cuda INTERFACE IMPORTED)
    set_target_properties(LibTorch::cuda PROPERTIES
      # torch_cuda registers its kernels in static initialisers: keep it though no symbol asks.
      INTERFACE_LINK_OPTIONS "LINKER:--no-as-needed,${LibTorch_CUDA_LIBRARY},${LibTorch_C10_CUDA_LIBRARY},--as-needed"
      INTERFACE_LINK_LIBRARIES "LibTorch::cpu;${LibTorch_CUDA_LIBRARY};${LibTorch_C10_CUDA_LIBRARY}")
  endif()
endif()
