# Fabric as other projects use it.
add_test(NAME consumer.find_package COMMAND ${CMAKE_COMMAND} -DBUILD=${PROJECT_BINARY_DIR}
  -DSOURCE=${CMAKE_CURRENT_SOURCE_DIR}/consumer -DWORK=${CMAKE_CURRENT_BINARY_DIR}/consumer
  -P ${CMAKE_CURRENT_SOURCE_DIR}/consumer/run.cmake)
set_tests_properties(consumer.find_package PROPERTIES TIMEOUT 300
  PASS_REGULAR_EXPRESSION "consumer of Fabric ${PROJECT_VERSION} trained")
add_test(NAME consumer.add_subdirectory COMMAND ${CMAKE_COMMAND} -G Ninja
  -S ${CMAKE_CURRENT_SOURCE_DIR}/consumer/add_subdirectory
  -B ${CMAKE_CURRENT_BINARY_DIR}/consumer_subdirectory -DFABRIC_SOURCE=${PROJECT_SOURCE_DIR})
set_tests_properties(consumer.add_subdirectory PROPERTIES TIMEOUT 120)
