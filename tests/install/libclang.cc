// Whether bindgen can work here: finds libclang where bindgen's loader (the clang-sys crate) looks for it, loads the
// newest, and has it parse C that includes the headers which come with a compiler. That this compiles and links shows
// the C++ compiler as well.
#include <dlfcn.h>
#include <glob.h>
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace {

struct Unsaved { const char* name; const char* text; unsigned long length; };
struct String { const void* data; unsigned flags; };

std::vector<std::string> directories() {
  if (const char* only = std::getenv("LIBCLANG_PATH")) return {only, std::string(only) + "/.."};
  std::vector<std::string> found;
  if (FILE* config = popen("llvm-config --prefix 2>/dev/null", "r")) {
    char line[4096];
    if (std::fgets(line, sizeof line, config)) {
      std::string prefix(line, std::string(line).find('\n'));
      found.insert(found.end(), {prefix + "/lib", prefix + "/lib64"});
    }
    pclose(config);
  }
  for (const char* name : {"LD_LIBRARY_PATH", "LIBRARY_PATH"}) {
    std::stringstream list(std::getenv(name) ? std::getenv(name) : "");
    for (std::string one; std::getline(list, one, ':');) found.push_back(one);
  }
  for (const char* usual : {"/usr/local/llvm*/lib*", "/usr/local/lib*/*/*", "/usr/local/lib*/*", "/usr/local/lib*",
                            "/usr/lib*/*/*", "/usr/lib*/*", "/usr/lib*"}) found.push_back(usual);
  return found;
}

// libclang-14.so.1 is of version 14, libclang.so.14.0.6 too, libclang.so of none.
int version(const std::string& path) {
  std::string name = path.substr(path.rfind('/') + 1);
  return std::atoi(name.c_str() + std::min(name.find_first_of("0123456789"), name.size()));
}

std::string newest() {
  std::vector<std::string> found;
  for (const std::string& directory : directories()) {
    for (const char* name : {"libclang.so", "libclang-*.so", "libclang.so.*", "libclang-*.so.*"}) {
      glob_t files{};
      if (glob((directory + "/" + name).c_str(), 0, nullptr, &files) == 0) {
        found.insert(found.end(), files.gl_pathv, files.gl_pathv + files.gl_pathc);
      }
      globfree(&files);
    }
  }
  // The C++ library is another one, and cannot stand in.
  auto other = [](const std::string& path) { return path.find("-cpp.", path.rfind('/')) != std::string::npos; };
  found.erase(std::remove_if(found.begin(), found.end(), other), found.end());
  auto older = [](const std::string& a, const std::string& b) { return version(a) < version(b); };
  auto best = std::max_element(found.begin(), found.end(), older);
  return best == found.end() ? "" : *best;
}

template <class F>
F* symbol(void* library, const char* name) {
  auto found = reinterpret_cast<F*>(dlsym(library, name));
  if (!found) { std::cerr << "libclang lacks " << name << "\n"; std::exit(1); }
  return found;
}

}  // namespace

int main() {
  std::string path = newest();
  if (path.empty()) { std::cerr << "there is no libclang.so where bindgen looks\n"; return 1; }
  void* library = dlopen(path.c_str(), RTLD_NOW);
  if (!library) { std::cerr << path << " cannot be loaded: " << dlerror() << "\n"; return 1; }
  std::string text = "#include <stdarg.h>\n#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n";
  Unsaved file{"probe.h", text.c_str(), text.size()};
  void* index = symbol<void*(int, int)>(library, "clang_createIndex")(0, 0);
  void* unit = symbol<void*(void*, const char*, const char* const*, int, Unsaved*, unsigned, unsigned)>(
      library, "clang_parseTranslationUnit")(index, file.name, nullptr, 0, &file, 1, 0);
  if (!unit) { std::cerr << path << " cannot parse\n"; return 1; }
  unsigned notes = symbol<unsigned(void*)>(library, "clang_getNumDiagnostics")(unit);
  for (unsigned i = 0; i < notes; ++i) {
    void* note = symbol<void*(void*, unsigned)>(library, "clang_getDiagnostic")(unit, i);
    if (symbol<int(void*)>(library, "clang_getDiagnosticSeverity")(note) < 3) continue;
    String said = symbol<String(void*, unsigned)>(library, "clang_formatDiagnostic")(note, 1);
    std::cerr << path << ": " << symbol<const char*(String)>(library, "clang_getCString")(said) << "\n";
    return 1;
  }
}
