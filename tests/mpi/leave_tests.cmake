# How jobs end: programs under mpirun whose exit status, text and duration are checked.
fabric_add_program(leave_program mpi/leave_program.cpp)
fabric_add_program(foreign_program support/foreign_program.cpp)
target_link_libraries(foreign_program PRIVATE MPI::MPI_CXX)

set(_mpirun ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none
  --mca mpi_yield_when_idle 1 -np)

function(fabric_end_test name status text)  # the command follows
  add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} "-DCOMMAND=${ARGN}" -DSTATUS=${status}
    "-DTEXT=${text}" -DLIMIT=30 -P ${CMAKE_CURRENT_SOURCE_DIR}/support/leave_check.cmake)
  set_tests_properties(${name} PROPERTIES TIMEOUT 60 PROCESSORS 2 ENVIRONMENT
    "${FABRIC_MPI_TEST_ENVIRONMENT};FABRIC_LOG=quiet")
endfunction()

# One rank leaves with an error, or leaves the others alone: the job ends with a text.
function(fabric_leave_test scenario ranks status text)
  fabric_end_test(leave.${scenario} ${status} "${text}" ${_mpirun} ${ranks}
    $<TARGET_FILE:leave_program> ${scenario})
endfunction()

set(_leaver "rank 1 of 2 on host [^:]*: ")
fabric_leave_test(uncaught 2 1 "${_leaver}an exception ended the program: the weights are missing")
fabric_leave_test(uncaught_torch 2 1 "${_leaver}an exception ended .*the shapes do not fit")
fabric_leave_test(caught_return_1 2 1 "${_leaver}the program left with exit status 1")
fabric_leave_test(return_3 2 3 "${_leaver}the program left with exit status 3")
fabric_leave_test(exit_1 2 1 "${_leaver}the program left with exit status 1")
fabric_leave_test(terminate 2 1 "${_leaver}std::terminate was called")
fabric_leave_test(abort_job 2 5 "${_leaver}the disk is full; ending the job")
fabric_leave_test(announced_return_1 2 1
  "${_leaver}the program left with exit status 1 after: the weights are missing")
fabric_leave_test(caught_return_0 3 1
  "rank [01] of 3 .*: rank 2 left .it ended with exit status 0. while this rank waits for it in all_reduce of communicator 'user'")
fabric_leave_test(early_return 2 1 "rank 0 of 2 .*: rank 1 left .*waits for it in all_reduce")
fabric_leave_test(stuck_on_thread 2 1 "rank 0 of 2 .*: rank 1 left .*waits for it in all_reduce")
fabric_leave_test(stuck_on_device 2 1 "rank 0 of 2 .*: rank 1 left .*waits for it in a collective on its device")
fabric_leave_test(announced 2 1 "rank 1 left .the weights are missing. while this rank waits")
fabric_leave_test(unwound 3 1
  "rank 2 left .an exception left the scope of its Fabric object. while this rank waits")
fabric_leave_test(fails_in_forward 3 1
  "rank 2 of 3 .*an exception ended the program: mat1 and mat2 shapes cannot be multiplied")
fabric_leave_test(killed 2 nonzero "signal 9")

# Ranks that do not do the same: the one that waits names the others.
fabric_end_test(leave.one_sided 1
  "not all ranks took part in .* within 1 s: rank [0-9] waits in .*, while this rank waits" ${CMAKE_COMMAND} -E env FABRIC_TIMEOUT=1
  ${_mpirun} 3 $<TARGET_FILE:leave_program> one_sided)
fabric_end_test(leave.one_reads 1
  "not all ranks took part in .*Linear control.* within 1 s: .*fabric.full_parameters" ${CMAKE_COMMAND} -E env FABRIC_TIMEOUT=1
  ${_mpirun} 3 $<TARGET_FILE:leave_program> one_reads)
fabric_end_test(leave.patient 0 "" ${CMAKE_COMMAND} -E env FABRIC_TIMEOUT=1
  ${_mpirun} 3 $<TARGET_FILE:leave_program> patient)

# Ranks that end at different times without an error: status 0 and not a word.
foreach(_scenario late came_back pending forked)
  fabric_leave_test(${_scenario} 3 0 "")
endforeach()

fabric_leave_test(slow_receiver 4 0 "")

# A launcher whose world MPI does not see.
fabric_end_test(leave.foreign_launcher 2 "PMI_SIZE=4 and MPI_Comm_size 1.*srun --mpi=pmix"
  ${CMAKE_COMMAND} -E env PMI_SIZE=4 OMPI_MCA_ess=singleton $<TARGET_FILE:leave_program> join)

# Programs that own MPI.
foreach(_level multiple funneled)
  fabric_end_test(foreign.${_level} 0 "" ${_mpirun} 3 $<TARGET_FILE:foreign_program> ${_level})
endforeach()
fabric_end_test(foreign.none 0 "got a communicator while MPI is not initialised"
  $<TARGET_FILE:foreign_program> none)
