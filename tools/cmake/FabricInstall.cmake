# Installs the library, its headers below include/fabric-cpp/, and a package for find_package(Fabric).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS fabric_cpp EXPORT FabricTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(_folder IN ITEMS fabric strategies accelerators)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${_folder} DESTINATION include/fabric-cpp
    FILES_MATCHING PATTERN "*.h")
endforeach()
# Options structs are read by reflection in our headers: a consumer needs the same Boost.PFR.
install(DIRECTORY ${BoostPFR_INCLUDE_DIR}/boost/pfr DESTINATION include/fabric-cpp/third_party/boost)
install(FILES ${BoostPFR_INCLUDE_DIR}/boost/pfr.hpp DESTINATION include/fabric-cpp/third_party/boost)

set(_package ${CMAKE_INSTALL_LIBDIR}/cmake/Fabric)
install(EXPORT FabricTargets NAMESPACE Fabric:: DESTINATION ${_package})
configure_package_config_file(${PROJECT_SOURCE_DIR}/tools/cmake/FabricConfig.cmake.in
  ${PROJECT_BINARY_DIR}/FabricConfig.cmake INSTALL_DESTINATION ${_package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/FabricConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/FabricConfig.cmake ${PROJECT_BINARY_DIR}/FabricConfigVersion.cmake
  ${PROJECT_SOURCE_DIR}/tools/cmake/FindLibTorch.cmake
  ${PROJECT_SOURCE_DIR}/tools/cmake/FabricInferenceEntries.cmake
  ${PROJECT_SOURCE_DIR}/tools/inference_entries.py DESTINATION ${_package})
