# Functions that set up each kind of target the same way.

# Our own warnings are strict; headers of dependencies are SYSTEM and stay silent.
function(fabric_set_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra $<$<BOOL:${FABRIC_WERROR}>:-Werror>)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 reports these inside LibTorch's inlined containers.
    target_compile_options(${target} PRIVATE -Wno-array-bounds -Wno-stringop-overflow
      -Wno-stringop-overread -Wno-restrict -Wno-dangling-pointer -Wno-maybe-uninitialized)
  endif()
  if(FABRIC_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${FABRIC_SANITIZE} -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE -fsanitize=${FABRIC_SANITIZE})
  endif()
endfunction()

# One precompiled header for everything: torch/torch.h costs 13 s and 1.3 GB a file without it.
add_library(fabric_pch OBJECT ${PROJECT_SOURCE_DIR}/tools/cmake/pch.cpp)
target_link_libraries(fabric_pch PRIVATE LibTorch::cpu Threads::Threads)
target_include_directories(fabric_pch SYSTEM PRIVATE ${BoostPFR_INCLUDE_DIR})
target_precompile_headers(fabric_pch PRIVATE ${PROJECT_SOURCE_DIR}/tools/cmake/pch.h)
fabric_set_warnings(fabric_pch)
if(FABRIC_CCACHE)
  # ccache tells precompiled headers apart by this file: by what they are made of, not by the 800 MB
  # that come out. So what one build folder has compiled serves the others.
  file(READ ${PROJECT_SOURCE_DIR}/tools/cmake/pch.h _pch)
  file(WRITE ${CMAKE_BINARY_DIR}/CMakeFiles/fabric_pch.dir/cmake_pch.hxx.gch.sum
    "${_pch}${CMAKE_CXX_COMPILER} ${CMAKE_CXX_COMPILER_VERSION} ${CMAKE_BUILD_TYPE} ${CMAKE_CXX_FLAGS} "
    "${FABRIC_SANITIZE} ${LibTorch_VERSION} ${LibTorch_CPU_LIBRARY} ${BoostPFR_INCLUDE_DIR}\n")
endif()

function(fabric_use_pch target)
  target_precompile_headers(${target} REUSE_FROM fabric_pch)
endfunction()

function(fabric_setup_library target)
  set_target_properties(${target} PROPERTIES
    OUTPUT_NAME fabric_cpp  # libfabric.so is OpenFabrics' name, and Open MPI loads that one
    EXPORT_NAME fabric DEFINE_SYMBOL ""
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:include/fabric-cpp>)
  target_include_directories(${target} SYSTEM PUBLIC
    $<BUILD_INTERFACE:${BoostPFR_INCLUDE_DIR}> $<INSTALL_INTERFACE:include/fabric-cpp/third_party>)
  target_include_directories(${target} SYSTEM PRIVATE
    ${Deflate_INCLUDE_DIR} ${NlohmannJson_INCLUDE_DIR} ${YamlCpp_INCLUDE_DIR})
  target_link_libraries(${target} PUBLIC LibTorch::cpu Threads::Threads)
  target_link_libraries(${target} PRIVATE ${Deflate_LIBRARY} ${YamlCpp_LIBRARY} ZLIB::ZLIB)
  if(FABRIC_CUDA)
    target_link_libraries(${target} PUBLIC LibTorch::cuda)
  endif()
  fabric_set_warnings(${target})
  fabric_use_pch(${target})
endfunction()

# A program of ours: an example, a benchmark, a test.
function(fabric_add_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE Fabric::fabric)
  # -fPIC instead of -fPIE: the precompiled header is shared with the library.
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${name} PRIVATE -fPIC)
  fabric_set_warnings(${name})
  fabric_use_pch(${name})
endfunction()
