# Functions that register tests. Names: unit.<file>, mpi<ranks>.<file>.

set(FABRIC_TEST_ENVIRONMENT OMP_NUM_THREADS=1)

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
        ENVIRONMENT "${FABRIC_TEST_ENVIRONMENT}" FAIL_REGULAR_EXPRESSION "test cases: *0 \\|")
    endforeach()
  endforeach()
endfunction()
