# A program with commands whose strategy follows from the architecture: what each job says, and how all of
# its processes end.
fabric_add_program(fabric_cli_program fabric/cli_program.cpp)

# fabric_cli_test(<name> <ranks> <status> <output> <arguments>...)
function(fabric_cli_test name ranks status expected)
  set(_start "")
  if(FABRIC_MPI)
    set(_start ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none -np ${ranks})
  elseif(ranks GREATER 1)
    return()
  endif()
  add_test(NAME cli.${name}
    COMMAND sh -c "\"$@\"; echo \"status $?\"" sh ${_start} $<TARGET_FILE:fabric_cli_program> ${ARGN})
  set_tests_properties(cli.${name} PROPERTIES TIMEOUT 60 PROCESSORS ${ranks}
    ENVIRONMENT "${FABRIC_MPI_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "${expected}.*status ${status}\n")
endfunction()

fabric_cli_test(auto 1 0 "Net on 1 ranks: single_device\n" run)
fabric_cli_test(auto_mpi2 2 0 "Net on 2 ranks: ddp\n" run --model.width=10)
fabric_cli_test(sharded 1 0 "Net on 1 ranks: fsdp\n" run --model.width=5000)
fabric_cli_test(sharded_mpi2 2 0 "Net on 2 ranks: fsdp\n" run --model.width=5000)
fabric_cli_test(big_mpi2 2 0 "Big on 2 ranks: ddp\n" run --model=Big)
fabric_cli_test(given_mpi2 2 2 "--fabric.strategy \\(argument 1\\): the link f\\(run.model\\) → fabric.strategy gives it"
  --fabric.strategy=ddp run)
fabric_cli_test(no_command_mpi2 2 2 "a command is missing; expected run" --seed=1)
# What a command throws is written, and ends all ranks.
fabric_cli_test(throws 1 1 "chooses run: no such data\n" run "--fail=no such data")
fabric_cli_test(throws_mpi2 2 1 "\\(rank 1\\) chooses run: no such data\n" run "--fail=no such data")
fabric_cli_test(cannot_launch 1 1 "chooses run: .*the accelerator cannot be used; got 'cuda' from --fabric.accelerator"
  run --fabric.accelerator=cuda)
# One rank's number is that of all; mpirun reports it.
fabric_cli_test(ends_alike_mpi2 2 7 "Net on 2 ranks: ddp\n" run --end_with=7)
