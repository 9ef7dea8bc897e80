#include "native.h"

#include <stdexcept>
#include <string>

size_t native_length(const char* text, bool twice) {
  try {
    throw std::runtime_error(std::string(text) + (twice ? text : ""));
  } catch (const std::runtime_error& error) {
    return std::string(error.what()).size();
  }
}
