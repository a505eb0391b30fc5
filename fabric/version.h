// The version of the toolkit; CMake reads it from here.
#pragma once

#define FABRIC_VERSION_MAJOR 0
#define FABRIC_VERSION_MINOR 1
#define FABRIC_VERSION_PATCH 0
#define FABRIC_VERSION "0.1.0"
