# cmake -DBUILD=… -DSOURCE=… -DWORK=… -P run.cmake: installs Fabric and builds and runs a project with it.
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()
file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/prefix)
file(GLOB_RECURSE _libraries RELATIVE ${WORK}/prefix ${WORK}/prefix/lib*/libfabric*)
message(STATUS "installed ${_libraries}")
foreach(_library IN LISTS _libraries)
  # Open MPI loads OpenFabrics' libfabric.so: a library of ours with that name would be taken for it.
  if(_library MATCHES "/libfabric\\.")
    message(FATAL_ERROR "the library is installed under OpenFabrics' name: ${_library}")
  endif()
endforeach()
run(${CMAKE_COMMAND} -G Ninja -S ${SOURCE}/find_package -B ${WORK}/find_package
  -DCMAKE_PREFIX_PATH=${WORK}/prefix -DCMAKE_BUILD_TYPE=Release)
run(${CMAKE_COMMAND} --build ${WORK}/find_package)
run(${WORK}/find_package/consumer)
