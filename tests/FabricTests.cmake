# Functions that register tests. Names: unit.<file>, mpi<ranks>.<file>, compile_fail.<file>.<case>.

# Tests run on the CPU, also where there is a GPU; those of the GPU say so themselves.
set(FABRIC_TEST_ENVIRONMENT OMP_NUM_THREADS=1 FABRIC_ACCELERATOR=cpu)
# Open MPI keeps memory until the process ends; the unit tests look for leaks of our own.
set(FABRIC_MPI_TEST_ENVIRONMENT ${FABRIC_TEST_ENVIRONMENT})
if(FABRIC_SANITIZE)
  list(APPEND FABRIC_MPI_TEST_ENVIRONMENT ASAN_OPTIONS=detect_leaks=0)
endif()

# A ctest entry runs the test cases of one file: doctest selects by source file.
function(fabric_unit_tests)
  fabric_add_program(fabric_tests support/main.cpp ${ARGN})
  target_include_directories(fabric_tests PRIVATE ${DOCTEST_INCLUDE_DIR} ${PROJECT_SOURCE_DIR})
  foreach(_file IN LISTS ARGN)
    string(REGEX REPLACE "_test.cpp$" "" _name "${_file}")
    string(REPLACE "/" "." _name "${_name}")
    add_test(NAME unit.${_name} COMMAND fabric_tests --source-file=*${_file})
    set_tests_properties(unit.${_name} PROPERTIES TIMEOUT 120
      ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" FAIL_REGULAR_EXPRESSION "test cases: *0 \\|")
  endforeach()
endfunction()

# The same under mpirun, once for each number of ranks (default 1 2 3 4). Ranks that wait give up the
# core: machines that run tests have fewer cores than ranks, or other work.
function(fabric_mpi_tests)
  fabric_add_program(fabric_mpi_tests support/mpi_main.cpp ${ARGN})
  target_include_directories(fabric_mpi_tests PRIVATE ${DOCTEST_INCLUDE_DIR} ${PROJECT_SOURCE_DIR})
  target_link_libraries(fabric_mpi_tests PRIVATE MPI::MPI_CXX)
  foreach(_file IN LISTS ARGN)
    string(REGEX REPLACE "_mpi_test.cpp$" "" _name "${_file}")
    string(REPLACE "/" "." _name "${_name}")
    string(REGEX REPLACE "^mpi\\." "" _name "${_name}")
    foreach(_ranks RANGE 1 4)
      add_test(NAME mpi${_ranks}.${_name}
        COMMAND ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none
          --mca mpi_yield_when_idle 1 -np ${_ranks} $<TARGET_FILE:fabric_mpi_tests> --ranks=${_ranks} --source-file=*${_file})
      set_tests_properties(mpi${_ranks}.${_name} PROPERTIES TIMEOUT 180 PROCESSORS 2
        ENVIRONMENT "${FABRIC_MPI_TEST_ENVIRONMENT}" FAIL_REGULAR_EXPRESSION "test cases: *0 \\|")
    endforeach()
    if(_name MATCHES "^(fsdp|ddp)")
      # Again with collectives that run beside computation, as where cores are free.
      set(_test mpi2.${_name}.thread)
      add_test(NAME ${_test}
        COMMAND ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none
          --mca mpi_yield_when_idle 1 -np 2 $<TARGET_FILE:fabric_mpi_tests> --ranks=2 --source-file=*${_file})
      set_tests_properties(${_test} PROPERTIES TIMEOUT 180 PROCESSORS 2
        ENVIRONMENT "${FABRIC_MPI_TEST_ENVIRONMENT};FABRIC_MPI_PROGRESS=thread"
        FAIL_REGULAR_EXPRESSION "test cases: *0 \\|")
    endif()
  endforeach()
endfunction()

# Each line `// CASE <name>: <text>` of a file makes a test: compiled with -DCASE_<name>, the file must
# fail with that text. The file alone must compile (test compile_fail.<file>.none).
function(fabric_compile_fail_tests)
  string(TOUPPER "${CMAKE_BUILD_TYPE}" _config)
  separate_arguments(_flags UNIX_COMMAND "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${_config}}")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT FABRIC_SANITIZE)
    # The flags are those of the precompiled header: seconds instead of a quarter of a minute each.
    list(APPEND _flags -fPIC -include ${PROJECT_BINARY_DIR}/CMakeFiles/fabric_pch.dir/cmake_pch.hxx)
  endif()
  foreach(_file IN LISTS ARGN)
    get_filename_component(_name ${_file} NAME_WE)
    _fabric_compile_fail_cases(compile_fail.${_name} ${_file} "" ${CMAKE_CXX_COMPILER} ${_flags})
  endforeach()
endfunction()

# The same with clang, where there is one beside another compiler.
function(fabric_compile_fail_tests_with_clang)
  find_program(FABRIC_CLANG clang++)
  if(NOT FABRIC_CLANG OR CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(STATUS "compile_fail.clang is left out: tools/setup --tests brings clang++")
    return()
  endif()
  set(_pch ${CMAKE_CURRENT_BINARY_DIR}/clang.pch)
  _fabric_compile_command(_compile ${FABRIC_CLANG})
  add_test(NAME compile_fail.clang.pch
    COMMAND ${_compile} -x c++-header ${PROJECT_SOURCE_DIR}/tools/cmake/pch.h -o ${_pch})
  set_tests_properties(compile_fail.clang.pch PROPERTIES FIXTURES_SETUP clang_pch TIMEOUT 300)
  foreach(_file IN LISTS ARGN)
    get_filename_component(_name ${_file} NAME_WE)
    _fabric_compile_fail_cases(compile_fail.clang.${_name} ${_file} clang_pch
      ${FABRIC_CLANG} -include-pch ${_pch})
  endforeach()
endfunction()

# _fabric_compile_command(<variable> <compiler> <flags>...)
function(_fabric_compile_command variable)
  get_target_property(_definitions LibTorch::cpu INTERFACE_COMPILE_DEFINITIONS)
  list(TRANSFORM _definitions PREPEND -D)
  set(${variable} ${ARGN} -std=c++20 ${_definitions} -I${PROJECT_SOURCE_DIR}
    -isystem ${BoostPFR_INCLUDE_DIR} -isystem ${LibTorch_INCLUDE_DIR}
    -isystem ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include PARENT_SCOPE)
endfunction()

# _fabric_compile_fail_cases(<prefix> <file> <fixture> <compiler> <flags>...)
function(_fabric_compile_fail_cases prefix file fixture)
  _fabric_compile_command(_compile ${ARGN})
  list(APPEND _compile -fsyntax-only -Wall -Werror)
  add_test(NAME ${prefix}.none COMMAND ${_compile} ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  set_tests_properties(${prefix}.none PROPERTIES TIMEOUT 120 FIXTURES_REQUIRED "${fixture}")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(STRINGS ${file} _cases REGEX "^// CASE [a-z0-9_]+: ")
  foreach(_line IN LISTS _cases)
    string(REGEX MATCH "^// CASE ([a-z0-9_]+): (.*)$" _ "${_line}")
    set(_case ${CMAKE_MATCH_1})
    string(REGEX REPLACE "([][+.*()^$?|])" "\\\\\\1" _text "${CMAKE_MATCH_2}")
    add_test(NAME ${prefix}.${_case}
      COMMAND ${_compile} -DCASE_${_case} ${CMAKE_CURRENT_SOURCE_DIR}/${file})
    # With PASS_REGULAR_EXPRESSION ctest looks at the output alone, so `error:` stands in it.
    set_tests_properties(${prefix}.${_case} PROPERTIES TIMEOUT 120 FIXTURES_REQUIRED "${fixture}"
      ENVIRONMENT LC_ALL=C  # plain quotes in the compiler's texts
      PASS_REGULAR_EXPRESSION "error:.*${_text}")
  endforeach()
endfunction()

# fabric_screen_test(<name> <file> <status> <program> <arguments>...): the program writes the file and
# ends with the status, alone and, as mpi4.<name>, under mpirun: four processes write it once.
function(fabric_screen_test name file status program)
  set(_golden ${PROJECT_SOURCE_DIR}/tests/support/golden.sh ${file} ${status})
  set(_folder ${PROJECT_BINARY_DIR}/tests/screens)  # where relative paths of a program begin
  file(MAKE_DIRECTORY ${_folder})
  set(_tests ${name})
  add_test(NAME ${name} WORKING_DIRECTORY ${_folder} COMMAND ${_golden} $<TARGET_FILE:${program}> ${ARGN})
  if(FABRIC_MPI)
    list(APPEND _tests mpi4.${name})
    add_test(NAME mpi4.${name} WORKING_DIRECTORY ${_folder}
      COMMAND ${_golden} ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none
        -np 4 $<TARGET_FILE:${program}> ${ARGN})
  endif()
  set_tests_properties(${_tests} PROPERTIES TIMEOUT 60 ENVIRONMENT "${FABRIC_MPI_TEST_ENVIRONMENT}")
endfunction()
