# Checkpoints over the ends of processes: worlds that change, and kills.
fabric_add_program(fabric_reshard_program mpi/reshard_program.cpp)
fabric_add_program(fabric_durability_program mpi/durability_program.cpp)
foreach(_program IN ITEMS fabric_reshard_program fabric_durability_program)
  target_include_directories(${_program} PRIVATE ${PROJECT_SOURCE_DIR})
endforeach()

if(TARGET fabric-consolidate)
  add_test(NAME checkpoint.reshard COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mpi/reshard_test.sh
    $<TARGET_FILE:fabric_reshard_program> $<TARGET_FILE:fabric-consolidate> ${MPIEXEC_EXECUTABLE})
  set_tests_properties(checkpoint.reshard PROPERTIES TIMEOUT 180 PROCESSORS 2
    ENVIRONMENT "${FABRIC_MPI_TEST_ENVIRONMENT}")
endif()

# A few kills each time; FABRIC_KILLS=200 for an evening.
if(NOT DEFINED FABRIC_KILLS)
  set(FABRIC_KILLS 6)
endif()
set(_three_sharded ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none
  --mca mpi_yield_when_idle 1 -x FABRIC_STRATEGY=fsdp -np 3)
foreach(_kind IN ITEMS python sharded)
  add_test(NAME checkpoint.kill.${_kind} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mpi/kill_test.sh
    $<TARGET_FILE:fabric_durability_program> ${_kind} ${FABRIC_KILLS})
  add_test(NAME checkpoint.kill.${_kind}_mpi3 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mpi/kill_test.sh
    $<TARGET_FILE:fabric_durability_program> ${_kind} ${FABRIC_KILLS}
    ${_three_sharded})
  set_tests_properties(checkpoint.kill.${_kind} checkpoint.kill.${_kind}_mpi3 PROPERTIES
    TIMEOUT 300 PROCESSORS 2 ENVIRONMENT "${FABRIC_MPI_TEST_ENVIRONMENT}")
endforeach()

# Two jobs that save to one path, and a disk that is full.
foreach(_kind IN ITEMS python sharded)
  add_test(NAME checkpoint.two_jobs.${_kind} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mpi/two_jobs_test.sh
    $<TARGET_FILE:fabric_durability_program> ${_kind} 40)
  add_test(NAME checkpoint.full_disk.${_kind} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mpi/full_disk_test.sh
    $<TARGET_FILE:fabric_durability_program> ${_kind})
  add_test(NAME checkpoint.full_disk.${_kind}_mpi3 COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mpi/full_disk_test.sh
    $<TARGET_FILE:fabric_durability_program> ${_kind} ${_three_sharded})
  set_tests_properties(checkpoint.two_jobs.${_kind} checkpoint.full_disk.${_kind}
    checkpoint.full_disk.${_kind}_mpi3 PROPERTIES TIMEOUT 120 PROCESSORS 2 SKIP_RETURN_CODE 77
    ENVIRONMENT "${FABRIC_MPI_TEST_ENVIRONMENT}")
endforeach()
