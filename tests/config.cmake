# Programs with a configuration: their screens on one process and four, and how their options reach
# the processes of a job.
fabric_add_program(fabric_config_screens fabric/config/screens_program.cpp)

set(_screens ${CMAKE_CURRENT_SOURCE_DIR}/fabric/config/screens)
fabric_screen_test(config.screens.help ${_screens}/help.txt 0 fabric_config_screens --help)
fabric_screen_test(config.screens.errors ${_screens}/errors.txt 2 fabric_config_screens
  --modle.width=3 --epochs 1e2 --lr=fast --model.activation GELU
  --weights.second=x stray --teacher.width=0)
fabric_screen_test(config.screens.print_config ${_screens}/print_config.txt 0 fabric_config_screens
  --print_config=comments --model.layers+=3 --data=sets)

if(FABRIC_MPI)
  # Only the second process has an error: it waits, and is heard.
  add_test(NAME mpi2.config.screens.late
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/support/golden.sh ${_screens}/late.txt 2
      ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none
      -np 1 $<TARGET_FILE:fabric_config_screens> --data=x :
      -np 1 -x TRAIN_EPOCHS=many $<TARGET_FILE:fabric_config_screens> --data=x)
  set_tests_properties(mpi2.config.screens.late PROPERTIES TIMEOUT 60
    ENVIRONMENT "${FABRIC_MPI_TEST_ENVIRONMENT}")

  fabric_add_program(fabric_config_job fabric/config/job_program.cpp)
  function(fabric_config_job_test name expected)  # the command follows
    add_test(NAME config.job.${name} COMMAND ${ARGN})
    set_tests_properties(config.job.${name} PROPERTIES TIMEOUT 60 PROCESSORS 2
      ENVIRONMENT "${FABRIC_MPI_TEST_ENVIRONMENT}" PASS_REGULAR_EXPRESSION "${expected}")
  endfunction()
  set(_two ${MPIEXEC_EXECUTABLE} --allow-run-as-root --oversubscribe --bind-to none)

  # Started plainly: the processes have what the first one read, from where only it could read.
  fabric_config_job_test(started "3 ranks, widths 15, name given from standard input:2:7\n"
    sh -c "printf 'width: 5\\nname: given\\n' | $<TARGET_FILE:fabric_config_job> --config - --fabric.devices 3")
  # Arguments win over FABRIC_… variables.
  fabric_config_job_test(precedence "2 ranks, widths 2, name run from default\n"
    ${CMAKE_COMMAND} -E env FABRIC_DEVICES=1 $<TARGET_FILE:fabric_config_job> --fabric.devices=2)
  fabric_config_job_test(variable "2 ranks, .*, name run from default\n"
    ${CMAKE_COMMAND} -E env FABRIC_DEVICES=2 $<TARGET_FILE:fabric_config_job>)
  fabric_config_job_test(joined "2 ranks, widths 8, "
    ${_two} -np 2 $<TARGET_FILE:fabric_config_job> --width=4)
  fabric_config_job_test(differs
    "ranks have different configurations. got, on rank 1: width is 7 here and 4 on rank 0"
    ${_two} -np 1 $<TARGET_FILE:fabric_config_job> --width=4 :
      -np 1 -x JOB_WIDTH=7 $<TARGET_FILE:fabric_config_job>)
endif()
