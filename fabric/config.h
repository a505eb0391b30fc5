// Configurations: one plain struct is the keyword arguments, YAML, command line, help and
// hyper-parameters of a program. See fabric/config/README.md.
#pragma once

#include <fabric/config/classes/class.h>
#include <fabric/config/classes/one_of.h>
#include <fabric/config/classes/provided.h>
#include <fabric/config/error.h>
#include <fabric/config/external_options.h>
#include <fabric/config/help.h>
#include <fabric/config/options.h>
#include <fabric/config/parser.h>
#include <fabric/config/required.h>
#include <fabric/config/resolved.h>
#include <fabric/config/text_form.h>
